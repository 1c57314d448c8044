/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Members: cgroups that come, change and go, and the tasks that are in them.
 *
 * A cgroup's slot is taken when it comes and given back when neither it nor a task needs it.
 */
#ifndef AGENTCG_SCHED_MEMBERS_H
#define AGENTCG_SCHED_MEMBERS_H

#include "sched_delay.h"

#define OP(name) SEC("struct_ops/" #name) BPF_PROG
#define SLEEPABLE_OP(name) SEC("struct_ops.s/" #name) BPF_PROG

static __always_inline void join(struct task *t, u64 cgroup_id)
{
	u32 slot = slot_of(cgroup_id);
	struct agentcg_node *n = node_at(slot);

	t->slot = slot;
	if (!n)
		return;
	__sync_fetch_and_add(&n->refs, 1);
	t->vtime = n->task_vtime;
}

s32 SLEEPABLE_OP(init_task)(agentcg_init_task, struct task_struct *p,
			    struct scx_init_task_args *args)
{
	struct task *t = bpf_task_storage_get(&tasks, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!t)
		return -12; /* ENOMEM */
	join(t, args->cgroup->kn->id);
	return 0;
}

void OP(exit_task)(agentcg_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	struct task *t = task_of(p);

	if (!t)
		return;
	set_quiescent(t);
	forget_delay(p, t);
	release_slot(t->slot);
}

void OP(cgroup_move)(agentcg_cgroup_move, struct task_struct *p, struct cgroup *from,
		     struct cgroup *to)
{
	struct task *t = task_of(p);
	u32 old;

	if (!t)
		return;
	old = t->slot;
	set_quiescent(t);
	join(t, to->kn->id);
	release_slot(old);
}

/* A slot for a new cgroup: a fresh one as long as there are, then the one longest free. */
static __always_inline u32 take_slot(void)
{
	u32 slot = __sync_fetch_and_add(&fresh, 1);

	if (slot < MAX_SLOTS)
		return new_turn(slot) ? AGENTCG_NO_SLOT : slot;
	__sync_fetch_and_add(&fresh, -1);
	return bpf_map_pop_elem(&free_slots, &slot) ? AGENTCG_NO_SLOT : slot;
}

s32 SLEEPABLE_OP(cgroup_init)(agentcg_cgroup_init, struct cgroup *cgrp,
			      struct scx_cgroup_init_args *args)
{
	u64 id = cgrp->kn->id;
	u32 slot, parent = AGENTCG_NO_SLOT;
	struct agentcg_node *n, *above;

	if (cgrp->level > 0)
		parent = slot_of(cgrp->self.parent->cgroup->kn->id);
	above = node_at(parent);
	slot = above && above->level + 1 >= MAX_LEVELS ? AGENTCG_NO_SLOT : take_slot();
	n = node_at(slot);
	if (!n) { /* no room: its tasks count as those of the cgroup above */
		count(&state.overflows);
		bpf_map_update_elem(&slots, &id, &parent, BPF_ANY);
		return 0;
	}
	__builtin_memset(n, 0, sizeof(*n));
	n->cgroup_id = id;
	n->parent = parent;
	n->level = above ? above->level + 1 : 0;
	n->weight = args->weight;
	n->vtime = state.vnow;
	n->refs = 1;
	n->boost_ns = settings.stretch_ns;
	n->boosted_at_ns = now_ns();
	if (bpf_core_field_exists(args->bw_quota_us))
		set_quota(n, slot, args->bw_period_us, args->bw_quota_us, args->bw_burst_us);
	count(&state.nodes);
	bpf_map_update_elem(&slots, &id, &slot, BPF_ANY);
	return 0;
}

void OP(cgroup_exit)(agentcg_cgroup_exit, struct cgroup *cgrp)
{
	u64 id = cgrp->kn->id;
	u32 slot = slot_of(id);
	struct agentcg_node *n = node_at(slot);

	bpf_map_delete_elem(&slots, &id);
	if (n && n->cgroup_id == id)
		release_slot(slot);
}

void OP(cgroup_set_weight)(agentcg_cgroup_set_weight, struct cgroup *cgrp, u32 weight)
{
	u64 id = cgrp->kn->id;
	u32 slot = slot_of(id);
	struct agentcg_node *n = node_at(slot);

	if (!n || n->cgroup_id != id)
		return;
	n->weight = weight;
	propagate(slot);
}

void OP(cgroup_set_bandwidth)(agentcg_cgroup_set_bandwidth, struct cgroup *cgrp, u64 period_us,
			      u64 quota_us, u64 burst_us)
{
	u64 id = cgrp->kn->id;
	u32 slot = slot_of(id);
	struct agentcg_node *n = node_at(slot);

	if (n && n->cgroup_id == id)
		set_quota(n, slot, period_us, quota_us, burst_us);
}

void OP(cgroup_set_idle)(agentcg_cgroup_set_idle, struct cgroup *cgrp, bool idle)
{
	u64 id = cgrp->kn->id;
	u32 slot = slot_of(id);
	struct agentcg_node *n = node_at(slot);

	if (!n || n->cgroup_id != id)
		return;
	n->idle = idle;
	propagate(slot);
}

#endif
