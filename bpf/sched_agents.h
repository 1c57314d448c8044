/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The partial switch: only agents' tasks are ours, those of policy SCHED_EXT. All others stay with the
 * kernel's own class, which is above this scheduler as real-time tasks are.
 *
 * Children and threads have the policy of who made them. Who comes into a session from outside has to be
 * given it, and no program can do that: user space is told of each such task, and of one of ours that is
 * moved out of all sessions. It reads where the task is then by itself; so an event is only its number.
 */
#ifndef AGENTCG_SCHED_AGENTS_H
#define AGENTCG_SCHED_AGENTS_H

#include "sched_nodes.h"

#define MAX_DEPTH 64 /* levels below the sessions' cgroup that are followed upwards */

const volatile struct agentcg_agents_settings agents SEC(".rodata.agents");
u64 arrivals_lost SEC(".data.arrivals_lost");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} arrivals SEC(".maps");

/* Whether a task that runs keeps all of ours from its CPU. */
static __always_inline bool is_above(struct task_struct *p)
{
	if (p->prio < MAX_RT_PRIO)
		return true;
	return agents.root_id && p->policy != SCHED_EXT && p->pid; /* 0: the idle task */
}

static __always_inline bool in_sessions(struct cgroup *cgroup)
{
	s32 i;

	for_range(i, 0, MAX_DEPTH) {
		if (!cgroup)
			break;
		if (BPF_CORE_READ(cgroup, kn, id) == agents.root_id)
			return true;
		cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
	}
	return false;
}

static __always_inline void tell_arrival(struct task_struct *p, struct cgroup *cgroup)
{
	bool ours = p->policy == SCHED_EXT;
	u32 *event;

	if ((p->flags & PF_KTHREAD) || (!ours && (p->policy > 31 || !(TAKEABLE >> p->policy & 1))))
		return;
	if (in_sessions(cgroup) == ours)
		return;
	event = bpf_ringbuf_reserve(&arrivals, sizeof(*event), 0);
	if (!event) {
		count(&arrivals_lost);
		return;
	}
	*event = p->pid;
	bpf_ringbuf_submit(event, 0);
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(agentcg_attached, struct cgroup *cgroup, const char *path, struct task_struct *p,
	     bool threadgroup)
{
	tell_arrival(p, cgroup);
	return 0;
}

/* Born elsewhere than its parent is: clone3(CLONE_INTO_CGROUP). */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(agentcg_forked, struct task_struct *parent, struct task_struct *child)
{
	struct cgroup *cgroup = BPF_CORE_READ(child, cgroups, dfl_cgrp);

	if (cgroup != BPF_CORE_READ(parent, cgroups, dfl_cgrp))
		tell_arrival(child, cgroup);
	return 0;
}

#endif
