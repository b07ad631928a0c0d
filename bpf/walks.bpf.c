/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* All iterators: what user space runs when it wants to know. */
#include "sweep.h"
#include "walks.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
