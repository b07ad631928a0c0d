# SPDX-License-Identifier: Apache-2.0
"""The kernel side as user space sees it.

    kernel = Kernel.load(Config(...))
    for name, feature in kernel.features.items(): ...      # feature.on, feature.reason
    poller.register(kernel.event_fd); kernel.events()      # drain; never blocks
    kernel.sweep()                                         # every 5 s: requests without an answer for 30 s end as `overdue`
    kernel.read_requests(); kernel.read_tcp()              # at scrape; structured arrays of rows.REQUEST / rows.TCP
    kernel.close()

Not thread-safe, except set_nat(), forget_nat() and retain_nat(), which a netlink thread may call at any time.
"""

from appstatus_agent.kernel.counters import Counters, ProgramCost
from appstatus_agent.kernel.kernel import Kernel
from appstatus_agent.kernel.loader import Feature, KernelError
from appstatus_agent.kernel.settings import Config

__all__ = ["Config", "Counters", "Feature", "Kernel", "KernelError", "ProgramCost"]
