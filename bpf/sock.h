/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reading the kernel's own sockets, tasks and cgroups (programs at tracepoints and iterators). */
#ifndef APPSTATUS_SOCK_H
#define APPSTATUS_SOCK_H

#include "packet.h"

/* A port that the kernel chose is given back before the change to CLOSE is reported; this copy stays. */
static __always_inline __u16 local_port(const struct sock *sk)
{
	__u16 port = BPF_CORE_READ(sk, __sk_common.skc_num);

	return port ? port : bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
}

static __always_inline void tuple_of_sock(const struct sock *sk, struct tuple *tuple)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		BPF_CORE_READ_INTO(&tuple->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&tuple->remote, sk, __sk_common.skc_v6_daddr);
	} else {
		mapped(&tuple->local, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		mapped(&tuple->remote, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	}
	tuple->local_port = local_port(sk);
	tuple->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	tuple->zero = 0;
}

/* The socket's cgroup-v2 id. */
static __always_inline __u64 cgroup_of_sock(const struct sock *sk)
{
	struct cgroup *cgroup;
	__u64 id;

	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup)) {
		cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	} else {
		/* A tagged word: an odd one holds net_cls and net_prio numbers instead. */
		struct sock_cgroup_data___before_5_15 *data = (void *)&sk->sk_cgrp_data;
		__u64 value = BPF_CORE_READ(data, val);

		cgroup = value & 3 ? 0 : (void *)value;
	}
	id = cgroup ? BPF_CORE_READ(cgroup, kn, id) : 0;
	return id ? id : config.root_cgroup;
}

static __always_inline __u64 cgroup_of_task(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

/* Id in the hierarchy of the memory controller: a v1 one where config.v1_owners, else that of v2. */
static __always_inline __u64 memory_cgroup_of_task(struct task_struct *task)
{
	struct cgroup_subsys_state *css = 0;
	struct css_set *set = BPF_CORE_READ(task, cgroups);

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return 0;
	bpf_core_read(&css, sizeof(css), &set->subsys[bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)]);
	return BPF_CORE_READ(css, cgroup, kn, id);
}

/* For a socket whose process is at hand: see owner_of. */
static __always_inline __u64 owner_of_sock(const struct sock *sk, struct task_struct *task)
{
	__u64 id = cgroup_of_sock(sk);

	if (id != config.root_cgroup || !config.v1_owners)
		return id;
	id = memory_cgroup_of_task(task);
	return id ? id | OWNER_V1 : OWNER_UNKNOWN;
}

/* Remembers who owns a socket whose cgroup does not say it, for the tap. */
static __always_inline void remember_stray(const struct sock *sk, __u64 owner)
{
	struct tuple tuple;

	if (!(owner & OWNER_V1))
		return;
	tuple_of_sock(sk, &tuple);
	bpf_map_update_elem(&stray_sockets, &tuple, &owner, BPF_ANY);
}

#endif
