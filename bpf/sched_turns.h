/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Turns: cgroups with waiting tasks, ordered by virtual time in one tree.
 *
 * Each slot has one turn, for ever. It is in the tree, with a CPU that has taken it out, or put
 * aside in `stash` while nothing waits. Who queues a task takes the turn from the stash, if it is
 * there, and adds it to the tree; who takes a turn whose cgroup has nothing waiting puts it
 * aside, and then looks once more.
 */
#ifndef AGENTCG_SCHED_TURNS_H
#define AGENTCG_SCHED_TURNS_H

#include "sched_nodes.h"

#define NODE_QUEUE 0x100000000ULL /* + slot: tasks that any CPU may run */
#define CPU_QUEUE 0x200000000ULL  /* + CPU: tasks that may not run everywhere */
#define PICK_TRIES 32

struct turn {
	struct bpf_rb_node rb;
	u64 vtime;
	u32 slot;
};

struct stash {
	struct turn __kptr *turn;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SLOTS);
	__type(key, u32);
	__type(value, struct stash);
} stashes SEC(".maps");

#define private(name) SEC(".data." #name) __hidden __attribute__((aligned(64)))
private(turns) struct bpf_spin_lock turns_lock;
private(turns) struct bpf_rb_root turns
	__attribute__((btf_decl_tag("contains:turn:rb")));
private(turns) u32 nr_turns; /* in the tree */

static bool earlier(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return before(container_of(a, struct turn, rb)->vtime,
		      container_of(b, struct turn, rb)->vtime);
}

/* Takes the turn over. */
static __always_inline void add_turn(struct turn *turn, u64 vtime)
{
	turn->vtime = vtime;
	bpf_spin_lock(&turns_lock);
	bpf_rbtree_add_impl(&turns, &turn->rb, earlier, NULL, 0);
	nr_turns++;
	bpf_spin_unlock(&turns_lock);
}

/* Something waits in `slot`: have its turn in the tree. */
static __always_inline void want_turn(u32 slot, u64 vtime)
{
	struct stash *stash = bpf_map_lookup_elem(&stashes, &slot);
	struct turn *turn;

	if (!stash || !stash->turn)
		return;
	turn = bpf_kptr_xchg(&stash->turn, NULL);
	if (turn)
		add_turn(turn, vtime);
}

/* Take the first turn out of the tree. */
static __always_inline struct turn *first_turn(void)
{
	struct bpf_rb_node *rb;

	if (!nr_turns)
		return NULL;
	bpf_spin_lock(&turns_lock);
	rb = bpf_rbtree_first(&turns);
	if (rb) {
		rb = bpf_rbtree_remove(&turns, rb);
		nr_turns--;
	}
	bpf_spin_unlock(&turns_lock);
	return rb ? container_of(rb, struct turn, rb) : NULL;
}

static __always_inline void kick_idle(void)
{
	const struct cpumask *online = scx_bpf_get_online_cpumask();
	s32 cpu = scx_bpf_pick_idle_cpu(online, 0);

	scx_bpf_put_cpumask(online);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
}

/* A CPU that looked while the turn was out may have gone idle: wake one. */
static __always_inline void put_back(struct turn *turn, u64 vtime)
{
	add_turn(turn, vtime);
	kick_idle();
}

/* Nothing seems to wait: put the turn aside. A task that came meanwhile takes it out again. */
static __always_inline void put_aside(struct turn *turn, struct agentcg_node *n, u32 slot)
{
	struct stash *stash = bpf_map_lookup_elem(&stashes, &slot);

	if (!stash) {
		bpf_obj_drop_impl(turn, NULL);
		return;
	}
	turn = bpf_kptr_xchg(&stash->turn, turn);
	if (turn) /* cannot be: there is one for each slot */
		bpf_obj_drop_impl(turn, NULL);
	if (n->queued > 0) {
		turn = bpf_kptr_xchg(&stash->turn, NULL);
		if (turn) /* its task may not be in the queue yet: let others go first */
			add_turn(turn, bounded_vtime(n, slot) + settings.slice_ns);
	}
}

/* Make the turn and the queue of a slot that is used for the first time. */
static __always_inline s32 new_turn(u32 slot)
{
	struct stash *stash = bpf_map_lookup_elem(&stashes, &slot);
	struct turn *turn;
	s32 error;

	if (!stash)
		return -2; /* ENOENT */
	error = scx_bpf_create_dsq(NODE_QUEUE + slot, -1);
	if (error)
		return error;
	turn = bpf_obj_new_impl(bpf_core_type_id_local(struct turn), NULL);
	if (!turn)
		return -12; /* ENOMEM */
	turn->slot = slot;
	turn = bpf_kptr_xchg(&stash->turn, turn);
	if (turn)
		bpf_obj_drop_impl(turn, NULL);
	return 0;
}

/* The virtual time of the first task of a queue. */
static __always_inline bool first_vtime(u64 queue, u64 *vtime)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	bool found = false;

	if (scx_bpf_dsq_nr_queued(queue) <= 0)
		return false;
	bpf_iter_scx_dsq_new(&it, queue, 0);
	p = bpf_iter_scx_dsq_next(&it);
	if (p) {
		*vtime = p->scx.dsq_vtime;
		found = true;
	}
	bpf_iter_scx_dsq_destroy(&it);
	return found;
}

#endif
