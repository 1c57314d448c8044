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

/* What the first turn of the trees is compared with. */
struct others {
	struct claim pinned; /* of the first task in the CPU's own queue */
	bool is_pinned;      /* there is one */
	bool is_rival;       /* the task that ran until now wants to go on */
	u32 slot;            /* ... and its cgroup; AGENTCG_NO_SLOT: it does not wait in its queue */
	struct claim rival;  /* ... and what it stands for: its cgroup, or itself if it is pinned */
	u64 task_vtime;
};

enum outcome { NOTHING, MOVED, KEEP, PINNED, AGAIN };

static __always_inline bool pinned_is_first(struct others *o)
{
	return o->is_pinned && !(o->is_rival && goes_first(&o->rival, &o->pinned));
}

/* Whether the task that ran, or the CPU's own queue, comes before a cgroup with this claim. */
static __always_inline enum outcome compare(struct others *o, u32 slot, const struct claim *claim)
{
	if (pinned_is_first(o) && !goes_first(claim, &o->pinned))
		return PINNED;
	if (o->is_rival && (o->slot == slot || goes_first(&o->rival, claim)))
		return KEEP;
	return MOVED;
}

/* Look at the first turn of the trees. */
static __noinline enum outcome pick_once(struct others *o)
{
	struct claim claim;
	struct agentcg_node *n;
	enum outcome outcome;
	struct turn *turn;
	u64 key;
	u32 slot;

	turn = first_turn();
	if (!turn)
		return NOTHING;
	slot = turn->slot;
	key = turn->claim.vtime;
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
	claim = claim_of(n, slot);
	if (before(key + settings.slice_ns, claim.vtime)) { /* charged since: others may be first */
		put_back(turn, &claim);
		return AGAIN;
	}
	outcome = compare(o, slot, &claim);
	if (outcome != MOVED) {
		put_back(turn, &claim);
		return outcome;
	}
	if (scx_bpf_dsq_move_to_local(NODE_QUEUE + slot)) {
		count(&state.picks);
		if (n->queued > 0)
			put_back(turn, &claim);
		else
			put_aside(turn, n, slot);
		return MOVED;
	}
	claim.vtime += settings.slice_ns; /* another CPU was faster, or none may run here */
	claim.deadline += settings.slice_ns;
	put_back(turn, &claim);
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
static __always_inline void keep(struct task_struct *prev, struct others *o)
{
	u64 first;

	if (o->slot < MAX_SLOTS && first_vtime(o->slot, &first) &&
	    before(first, o->task_vtime) && scx_bpf_dsq_move_to_local(NODE_QUEUE + o->slot)) {
		count(&state.picks);
		return;
	}
	count(&state.kept);
	set_slice(prev, settings.slice_ns);
}

#endif
