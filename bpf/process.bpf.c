/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Processes and cgroups that come and go: user space knows a container the moment it starts, and what a short-lived one was. */
#include "maps.h"
#include "sock.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define COMM 16
#define PATH 256

static __always_inline struct event *begin(__u32 data, __u16 kind)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event) + PATH, 0);

	if (!event) {
		count(LOST_EVENTS);
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->at = bpf_ktime_get_ns();
	event->kind = kind;
	event->length = data;
	return event;
}

static __always_inline void report_task(struct task_struct *task, __u16 kind, __u32 number)
{
	struct event *event = begin(COMM, kind);

	if (!event)
		return;
	event->pid = BPF_CORE_READ(task, tgid);
	event->owner = cgroup_of_task(task);
	event->owner_v1 = memory_cgroup_of_task(task);
	event->number = number;
	bpf_core_read(event + 1, COMM, &task->comm);
	bpf_ringbuf_submit(event, 0);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task)
{
	__u64 cost = cost_begin();

	report_task(task, EVENT_EXEC, 0);
	cost_end(PROGRAM_PROCESS, cost);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	__u64 cost = cost_begin();

	/* The last thread of a process. Two that end at once may both see 0: user space takes the second for known. */
	if (BPF_CORE_READ(task, signal, live.counter) == 0) {
		int code = BPF_CORE_READ(task, signal, group_exit_code);

		report_task(task, EVENT_EXIT, code ? code : BPF_CORE_READ(task, exit_code));
	}
	cost_end(PROGRAM_PROCESS, cost);
	return 0;
}

SEC("tp_btf/mark_victim")
int BPF_PROG(oom_victim)
{
	if (bpf_core_field_exists(struct trace_event_raw_mark_victim, uid)) {
		report_task((struct task_struct *)ctx[0], EVENT_OOM, 0);
	} else {
		struct event *event = begin(0, EVENT_OOM);

		if (!event)
			return 0;
		event->pid = (__u32)ctx[0];
		bpf_ringbuf_submit(event, 0);
	}
	return 0;
}

static __always_inline int report_cgroup(struct cgroup *cgroup, const char *path, __u16 kind)
{
	struct event *event = begin(0, kind);
	long length;

	if (!event)
		return 0;
	event->owner = BPF_CORE_READ(cgroup, kn, id);
	event->number = BPF_CORE_READ(cgroup, root, hierarchy_id);
	length = bpf_probe_read_kernel_str(event + 1, PATH, path);
	event->length = length > 0 ? length : 0;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_made, struct cgroup *cgroup, const char *path)
{
	return report_cgroup(cgroup, path, EVENT_CGROUP_MADE);
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_gone, struct cgroup *cgroup, const char *path)
{
	return report_cgroup(cgroup, path, EVENT_CGROUP_GONE);
}
