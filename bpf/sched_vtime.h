/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Virtual time: what a cgroup has had, beside what was its part.
 *
 * A cgroup's is what its own tasks used, divided by the share of the machine that it had when each
 * of their turns began. The machine's is the mean of those of all active cgroups, by their shares:
 * who is there has had its part, who is below is owed some.
 */
#ifndef AGENTCG_SCHED_VTIME_H
#define AGENTCG_SCHED_VTIME_H

#include "sched_nodes.h"

#define MEND_BITS 33 /* the mean is mended within 2^33 ns, some seconds, of CPU time */

static __always_inline u64 virtual(u64 ns, u64 share)
{
	return ns * ONE / share;
}

/* What a turn adds to a virtual time with this share; not more than anybody has to wait for. */
static __always_inline u64 virtual_slice(u64 share)
{
	u64 most = settings.patience_ns * nr_online, slice = virtual(settings.slice_ns, share ?: ONE);

	return slice < most ? slice : most;
}

/* --- The mean ------------------------------------------------------------------------------- */

static __always_inline s64 from_mean(u64 vtime)
{
	s64 by = vtime - state.mean, most = settings.patience_ns * nr_online;

	return by > most ? most : by < -most ? -most : by;
}

/*
 * Time does not go back: who waits has a place that was given at its wake-up, and those who come
 * later, when the mean has fallen, would all be before it.
 */
static __always_inline void move_mean(s64 by)
{
	u64 now = __sync_fetch_and_add(&state.mean, by) + by;

	if (before(state.vnow, now))
		state.vnow = now;
}

static __always_inline void correct_mean(s64 by)
{
	s64 most = settings.lag_ns;

	move_mean(by > most ? most : by < -most ? -most : by);
}

/* Who comes or goes moves the mean, by how far it is from it: else those who stay would pay for it. */
static __always_inline void enter_mean(struct agentcg_node *n)
{
	correct_mean((from_mean(n->vtime) * (s64)n->share) >> ONE_BITS);
}

static __always_inline void leave_mean(struct agentcg_node *n)
{
	s64 by = from_mean(n->vtime);
	u64 all = (by < 0 ? -by : by) * n->share, rest = ONE - n->share;

	if (n->share >= ONE) /* nobody stays */
		return;
	correct_mean(by < 0 ? (s64)(all / rest) : -(s64)(all / rest));
}

/*
 * A virtual time moved on, and the mean with it by its part. Shares change, and CPUs do this at the
 * same time, so the mean is not exact, and it is also drawn to the middle of each turn: those who
 * get the turns are the active cgroups, by their shares, so the mean of the middles is the one sought.
 */
static __always_inline void pass_mean(u64 middle, u64 part_ns)
{
	s64 off = (from_mean(middle) >> MEND_BITS / 3) * (s64)(part_ns >> MEND_BITS / 3);

	move_mean(part_ns + (off >> MEND_BITS / 3));
}

/* --- Bounds --------------------------------------------------------------------------------- */

/*
 * Neither hoard time that was not wanted, nor pay for neighbours that are gone. Who always wanted to
 * run may be behind for good: all its tasks run, and weigh more than the CPUs that they fill.
 * However little a cgroup weighs, it is not ahead by more than what is its turn after
 * `patience_ns`: whoever waits may hold a lock, or be in an RCU section.
 */
static __always_inline u64 bounded(u64 vtime, u64 lag_ns, u64 lead_ns, u64 share)
{
	u64 now = state.vnow, least = now - lag_ns, most = virtual(lead_ns, share);

	if (most > settings.patience_ns * nr_online)
		most = settings.patience_ns * nr_online;
	most += now;
	if (before(vtime, least))
		return least;
	return before(most, vtime) ? most : vtime;
}

/* How far one may be behind that always wants to run: its turn may come when it is a turn behind. */
static __always_inline u64 lag_of(u64 share)
{
	u64 turns = 2 * virtual_slice(share);

	return turns > settings.lag_ns ? turns : settings.lag_ns;
}

static __always_inline u64 bounded_vtime(struct agentcg_node *n, u32 slot)
{
	u64 was = n->vtime, now = state.vnow, vtime, share;
	u64 lead_ns = settings.slice_ns * (nr_online + 1) + settings.stretch_ns;

	/* Within these bounds whatever its share: mostly so, and working out the share takes long. */
	if (!before(was, now - settings.lag_ns) && !before(now + lead_ns, was))
		return was;
	share = share_of(slot);
	vtime = bounded(was, lag_of(share), lead_ns, share);
	if (vtime != was)
		n->vtime = vtime;
	return vtime;
}

/* The part of its cgroup's share that one runnable task stands for; kept until the next reckoning. */
static __always_inline u64 reckon_flat_share(struct task *t, struct agentcg_node *n)
{
	u64 all = n->own_weight > 0 ? n->own_weight : 1, weight = t->weight ?: TASK_WEIGHT;
	u64 share = share_of(t->slot);

	if (weight < all)
		share = share * weight / all;
	t->flat_share = share ?: 1;
	return t->flat_share;
}

static __always_inline void set_runnable(struct task_struct *p, struct task *t)
{
	struct agentcg_node *n = node_at(t->slot);
	u32 weight = p->scx.weight ?: 1, was;
	u64 credit, now;
	s64 others;

	if (t->weight || !n)
		return;
	was = __sync_lock_test_and_set(&t->weight, weight); /* a timer releases tasks, too */
	others = __sync_fetch_and_add(&n->own_weight, (s64)weight - was);
	if (was)
		return;
	if (__sync_fetch_and_add(&n->active, 1) == 0)
		propagate(t->slot);
	if (others > 0)
		return;
	n->share = share_of(t->slot);
	credit = virtual(settings.credit_ns, n->share);
	if (credit > settings.lag_ns)
		credit = settings.lag_ns;
	now = state.vnow;
	if (before(n->vtime, now - credit))
		n->vtime = now - credit;
	enter_mean(n);
}

/* It sleeps, is delayed, or gone: it does not compete, and has no claim to the time meanwhile. */
static __always_inline void set_quiescent(struct task *t)
{
	struct agentcg_node *n = node_at(t->slot);
	u32 was;

	set_dequeued(t);
	t->ready_ns = 0;
	if (!t->weight || !n)
		return;
	was = __sync_lock_test_and_set(&t->weight, 0);
	if (!was)
		return;
	if (__sync_fetch_and_add(&n->own_weight, -(s64)was) == was)
		leave_mean(n);
	if (__sync_fetch_and_add(&n->active, -1) == 1)
		propagate(t->slot);
}

#endif
