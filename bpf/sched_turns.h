/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Turns: the cgroups with waiting tasks, and whose is the next.
 *
 * Of those that have had no more than their part, whose virtual time is not beyond the machine's, it
 * is the one with the earliest deadline: its virtual time and what a slice adds to it. Who has had more
 * waits until the machine's has come up to its own (EEVDF: Stoica and Abdel-Wahab, 1995).
 * Example: a with half of the machine, and 500 cgroups with a thousandth each, all at 0. A slice of
 * 3 ms is 6 ms for a, 3 s for each of the others. a is first, and then at 6, the machine at 3:
 * a has to wait, one of the others has its turn, the machine is at 6, and a is first again. By
 * virtual time alone a would wait for 500 turns, and then have as many.
 *
 * So there are two trees: of those whose time has come, by deadline, and of the others, by virtual
 * time. Each slot has one turn, for ever. It is in a tree, with a CPU that has taken it out, or put
 * aside in `stash` while nothing waits. Who queues a task takes the turn from the stash, if it is
 * there, and adds it to a tree; who takes a turn whose cgroup has nothing waiting puts it aside,
 * and then looks once more.
 */
#ifndef AGENTCG_SCHED_TURNS_H
#define AGENTCG_SCHED_TURNS_H

#include "sched_vtime.h"

#define NODE_QUEUE 0x100000000ULL /* + slot: tasks that any CPU may run */
#define CPU_QUEUE 0x200000000ULL  /* + CPU: tasks that may not run everywhere */
#define PICK_TRIES 32

#define RIPE_AT_ONCE 4 /* so many turns at most go over to the first tree at one look */

/* What one that wants to run has had, and will have had after a turn, in virtual time. */
struct claim {
	u64 vtime;
	u64 deadline;
};

struct turn {
	struct bpf_rb_node rb;
	struct claim claim;
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
private(turns) struct bpf_rb_root ripe
	__attribute__((btf_decl_tag("contains:turn:rb"))); /* by deadline */
private(turns) struct bpf_rb_root early
	__attribute__((btf_decl_tag("contains:turn:rb"))); /* by virtual time */
private(turns) u32 nr_turns; /* in both */

static bool due_earlier(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return before(container_of(a, struct turn, rb)->claim.deadline,
		      container_of(b, struct turn, rb)->claim.deadline);
}

static bool ripe_earlier(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return before(container_of(a, struct turn, rb)->claim.vtime,
		      container_of(b, struct turn, rb)->claim.vtime);
}

static __always_inline bool is_ripe(const struct claim *claim)
{
	return !before(state.vnow, claim->vtime);
}

/* Whether `a` is to run before `b`. */
static __always_inline bool goes_first(const struct claim *a, const struct claim *b)
{
	if (is_ripe(a) != is_ripe(b))
		return is_ripe(a);
	return is_ripe(a) ? before(a->deadline, b->deadline) : before(a->vtime, b->vtime);
}

static __always_inline struct claim claim_at(u64 vtime, u64 share)
{
	struct claim claim = { .vtime = vtime, .deadline = vtime + virtual_slice(share) };

	return claim;
}

static __always_inline struct claim claim_of(struct agentcg_node *n, u32 slot)
{
	return claim_at(bounded_vtime(n, slot), n->share);
}

/* Takes the turn over. */
static __always_inline void add_turn(struct turn *turn, const struct claim *claim)
{
	turn->claim = *claim;
	bpf_spin_lock(&turns_lock);
	if (is_ripe(claim))
		bpf_rbtree_add_impl(&ripe, &turn->rb, due_earlier, NULL, 0);
	else
		bpf_rbtree_add_impl(&early, &turn->rb, ripe_earlier, NULL, 0);
	nr_turns++;
	bpf_spin_unlock(&turns_lock);
}

/* Something waits in `slot`: have its turn in the tree. */
static __always_inline void want_turn(u32 slot, const struct claim *claim)
{
	struct stash *stash = bpf_map_lookup_elem(&stashes, &slot);
	struct turn *turn;

	if (!stash || !stash->turn)
		return;
	turn = bpf_kptr_xchg(&stash->turn, NULL);
	if (turn)
		add_turn(turn, claim);
}

/* Take the first turn out of its tree. */
static __always_inline struct turn *first_turn(void)
{
	struct bpf_rb_node *rb;
	u64 now = state.vnow;

	if (!nr_turns)
		return NULL;
	bpf_spin_lock(&turns_lock);
	for (int i = 0; i < RIPE_AT_ONCE; i++) {
		rb = bpf_rbtree_first(&early);
		if (!rb || before(now, container_of(rb, struct turn, rb)->claim.vtime))
			break;
		rb = bpf_rbtree_remove(&early, rb);
		if (!rb)
			break;
		bpf_rbtree_add_impl(&ripe, rb, due_earlier, NULL, 0);
	}
	rb = bpf_rbtree_first(&ripe);
	if (rb) {
		rb = bpf_rbtree_remove(&ripe, rb);
	} else {
		rb = bpf_rbtree_first(&early);
		if (rb)
			rb = bpf_rbtree_remove(&early, rb);
	}
	if (rb)
		nr_turns--;
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
static __always_inline void put_back(struct turn *turn, const struct claim *claim)
{
	add_turn(turn, claim);
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
		struct claim later = claim_at(bounded_vtime(n, slot) + settings.slice_ns, n->share);

		turn = bpf_kptr_xchg(&stash->turn, NULL);
		if (turn) /* its task may not be in the queue yet: let others go first */
			add_turn(turn, &later);
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

/* The virtual time of the first task that waits in `slot`, among those of its cgroup. */
static __always_inline bool first_vtime(u32 slot, u64 *vtime)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;

	if (scx_bpf_dsq_nr_queued(NODE_QUEUE + slot) <= 0)
		return false;
	bpf_iter_scx_dsq_new(&it, NODE_QUEUE + slot, 0);
	p = bpf_iter_scx_dsq_next(&it);
	if (p)
		*vtime = p->scx.dsq_vtime;
	bpf_iter_scx_dsq_destroy(&it);
	return p;
}

/*
 * What a pinned task that waits has a claim to, with the share that it has by now. It may have been
 * next to nothing when the task was charged and queued, since one that weighs much was awake; when
 * that one sleeps again, who waits is ahead by no more than a turn with the new share.
 */
static __always_inline struct claim pinned_claim(struct task *t, struct agentcg_node *n)
{
	u64 share = reckon_flat_share(t, n), most = state.vnow + virtual_slice(share);

	if (before(most, t->flat_vtime))
		t->flat_vtime = most;
	return claim_at(t->flat_vtime, share);
}

/* Of the first task in the queue of `cpu`. */
static __always_inline bool first_pinned(s32 cpu, struct claim *claim)
{
	struct bpf_iter_scx_dsq it;
	struct agentcg_node *n;
	struct task_struct *p;
	bool found = false;
	struct task *t;

	if (nr_pinned <= 0 || scx_bpf_dsq_nr_queued(CPU_QUEUE + cpu) <= 0)
		return false;
	bpf_iter_scx_dsq_new(&it, CPU_QUEUE + cpu, 0);
	p = bpf_iter_scx_dsq_next(&it);
	if (p && (t = task_of(p)) && (n = node_at(t->slot))) {
		*claim = pinned_claim(t, n);
		found = true;
	}
	bpf_iter_scx_dsq_destroy(&it);
	return found;
}

#endif
