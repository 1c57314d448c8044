/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracing: each turn of the tasks of one session, and each of their delays, as an event.
 *
 * Nobody is woken for it: who traces looks from time to time. An event for which there is no room is
 * counted, and nothing waits for a reader.
 */
#ifndef AGENTCG_SCHED_TRACE_H
#define AGENTCG_SCHED_TRACE_H

#include "sched_nodes.h"

u64 traced SEC(".data.traced"); /* cgroup id; 0: nobody traces */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} turn_events SEC(".maps");

/* Of the path from the traced cgroup to this one: the cgroup directly below it; 0: not below. */
static __noinline u64 traced_leaf(u32 slot)
{
	u64 leaf = 0;
	s32 i;

	for_range(i, 0, MAX_LEVELS) {
		struct agentcg_node *n = node_at(slot);

		if (!n)
			break;
		if (n->cgroup_id == traced)
			return leaf ?: n->cgroup_id;
		leaf = n->cgroup_id;
		slot = n->parent;
	}
	return 0;
}

static __always_inline void trace(struct task_struct *p, struct task *t, u64 ran_ns, u64 delayed_ns)
{
	u64 leaf = traced_leaf(t->slot);
	struct agentcg_turn_event *event;

	if (!leaf)
		return;
	event = bpf_ringbuf_reserve(&turn_events, sizeof(*event), 0);
	if (!event) {
		count(&state.events_lost);
		return;
	}
	event->cgroup_id = leaf;
	event->pid = p->pid;
	event->cpu = scx_bpf_task_cpu(p);
	event->ended_ns = bpf_ktime_get_ns();
	event->waited_ns = delayed_ns ? 0 : t->waited_ns;
	event->ran_ns = ran_ns;
	event->delayed_ns = delayed_ns;
	event->boosted = delayed_ns ? 0 : t->boosted;
	event->pad = 0;
	bpf_probe_read_kernel_str(event->comm, sizeof(event->comm), p->comm);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

#endif
