/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Picking: who runs next on a CPU that needs work.
 *
 * Three compete by virtual time: the first cgroup of the tree, the first task of the CPU's own
 * queue, and the task that ran until now if it wants to go on.
 */
#ifndef AGENTCG_SCHED_PICK_H
#define AGENTCG_SCHED_PICK_H

#include "sched_cpus.h"

/* What the task that ran until now stands for in the choice of the next. */
struct rival {
	u64 vtime; /* of its cgroup, or its own if it is pinned */
	u64 task_vtime;
	u32 slot; /* AGENTCG_NO_SLOT: it does not wait in its cgroup's queue */
	bool there;
};

enum outcome { NOTHING, MOVED, KEEP, PINNED, AGAIN };

static __always_inline void advance(u64 vtime)
{
	if (before(state.vnow, vtime))
		state.vnow = vtime;
}

/* Whether the task that ran, or the CPU's own queue, comes before a cgroup at `vtime`. */
static __always_inline enum outcome compare(struct rival *rival, u64 pinned, u32 slot, u64 vtime)
{
	if (pinned && !before(vtime, pinned) && !(rival->there && before(rival->vtime, pinned)))
		return PINNED;
	if (rival->there && (rival->slot == slot || before(rival->vtime, vtime)))
		return KEEP;
	return MOVED;
}

/* Look at the first turn of the tree. */
static __noinline enum outcome pick_once(struct rival *rival, u64 pinned)
{
	struct agentcg_node *n;
	enum outcome outcome;
	struct turn *turn;
	u64 key, vtime;
	u32 slot;

	turn = first_turn();
	if (!turn)
		return NOTHING;
	slot = turn->slot;
	key = turn->vtime;
	n = node_at(slot);
	if (!n) {
		bpf_obj_drop_impl(turn, NULL);
		return AGAIN;
	}
	if (scx_bpf_dsq_nr_queued(NODE_QUEUE + slot) <= 0) {
		count(&state.empty_picks);
		put_aside(turn, n, slot);
		return AGAIN;
	}
	vtime = bounded_vtime(n, slot);
	if (before(key + settings.slice_ns, vtime)) { /* it was charged since: others may be first now */
		put_back(turn, vtime);
		return AGAIN;
	}
	outcome = compare(rival, pinned, slot, vtime);
	if (outcome != MOVED) {
		put_back(turn, vtime);
		return outcome;
	}
	if (scx_bpf_dsq_move_to_local(NODE_QUEUE + slot)) {
		advance(vtime);
		count(&state.picks);
		if (n->queued > 0)
			put_back(turn, vtime);
		else
			put_aside(turn, n, slot);
		return MOVED;
	}
	put_back(turn, vtime + settings.slice_ns); /* another CPU was faster, or none may run here */
	return AGAIN;
}

/* Nothing to do: a task that waits for another CPU, and may run here, is welcome. */
static __noinline bool steal(void)
{
	s32 nr = scx_bpf_nr_cpu_ids(), other;

	for_range(other, 0, nr) {
		if (scx_bpf_dsq_nr_queued(CPU_QUEUE + other) > 0 &&
		    scx_bpf_dsq_move_to_local(CPU_QUEUE + other)) {
			count(&state.stolen);
			return true;
		}
	}
	return false;
}

/* Its cgroup is first: the task that ran goes on, unless another of the cgroup is before it. */
static __always_inline void keep(struct task_struct *prev, struct rival *rival)
{
	u64 first;

	advance(rival->vtime);
	if (rival->slot < MAX_SLOTS && first_vtime(NODE_QUEUE + rival->slot, &first) &&
	    before(first, rival->task_vtime) &&
	    scx_bpf_dsq_move_to_local(NODE_QUEUE + rival->slot)) {
		count(&state.picks);
		return;
	}
	count(&state.kept);
	set_slice(prev, settings.slice_ns);
}

#endif
