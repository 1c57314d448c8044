/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What runs on each CPU: charging it, taking the CPU from it, and the boost.
 *
 * A boost lets a task run at once on the CPU that it wakes on, a millisecond at a time, whatever
 * its cgroup's virtual time. It changes when a cgroup runs, not how much: the time is charged as
 * ever, and no part of it is forgotten. Two budgets bound it. The cgroup's: `stretch_ns` of CPU
 * time when it is new, which is what a short call needs in all, and `favour_ns` in each window
 * where user space favours it or a cgroup above it. The CPU's: `cpu_boost_ns` in each window, so
 * that nine tenths of every CPU go by weight however many cgroups are new at once, and nobody
 * waits long for boosts to end. A boost takes a millisecond of both when it is given, and gives
 * back what was not used.
 */
#ifndef AGENTCG_SCHED_CPUS_H
#define AGENTCG_SCHED_CPUS_H

#include "sched_agents.h"
#include "sched_delay.h"

#define MAX_CPUS 1024

/*
 * What a turn adds to the mean is worth what the cgroup's share is at its end. One that has grown from
 * next to nothing, since all others slept or were frozen, would take the mean minutes ahead at once,
 * and time does not go back: all that are not alone would be behind for good.
 */
#define MOST_GROWTH 4

struct cpu {
	u64 vtime; /* virtual time of the cgroup that runs there, when it began */
	u64 started_ns;
	u64 window_ns; /* when the present window of boosts began */
	s64 boost_ns;  /* what is left of it */
	u32 slot;
	u32 busy;
	u32 urgent; /* what runs there is a boost or a kernel thread: nobody takes over */
	u32 taken;  /* by a task that is above all of ours: is_above() */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_CPUS);
	__type(key, u32);
	__type(value, struct cpu);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SLOTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, u32);
} favoured SEC(".maps"); /* by cgroup id; holds for what is below, too */

static __always_inline void set_slice(struct task_struct *p, u64 ns)
{
	if (scx_bpf_task_set_slice)
		scx_bpf_task_set_slice(p, ns);
	else
		p->scx.slice = ns;
}

static __always_inline struct cpu *cpu_at(u32 cpu)
{
	return bpf_map_lookup_elem(&cpus, &cpu);
}

/* In virtual time, for the share that the cgroup had when the turn began. */
static __always_inline void pay(struct task *t, struct agentcg_node *n, u64 used)
{
	u64 was = t->share ?: ONE, is = share_of(t->slot), moved = virtual(used, was);
	u64 part = used * (is < MOST_GROWTH * was ? is : MOST_GROWTH * was) / was;

	t->vtime += used * TASK_WEIGHT / (t->weight ?: TASK_WEIGHT);
	if (t->pinned)
		t->flat_vtime += virtual(used, reckon_flat_share(t, n));
	t->share = n->share = is;
	pass_mean(__sync_fetch_and_add(&n->vtime, moved) + moved / 2, part);
}

/*
 * Charge the time since `started_ns` to the task, its cgroup, and the boost that it ran by. Until
 * when the cgroup has to wait because of cpu.max; 0: it has not.
 */
static __always_inline u64 charge(struct task *t, struct agentcg_node *n, struct cpu *c, u64 now)
{
	u64 used = now - t->started_ns;
	s64 unused = t->boost_ns - used;

	t->started_ns = now;
	__sync_fetch_and_add(&n->run_ns, used);
	if (t->weight) /* it competes: is_cpus_own() */
		pay(t, n, used);
	if (t->boost_ns) {
		t->boost_ns = 0;
		__sync_fetch_and_add(&n->boost_ns, unused);
		__sync_fetch_and_add(&c->boost_ns, unused);
	}
	return state.bandwidths ? spend(t->slot, used) : 0;
}

/* --- The boost ------------------------------------------------------------------------------ */

static __noinline bool is_favoured(u32 slot)
{
	s32 i;

	for_range(i, 0, MAX_LEVELS) {
		struct agentcg_node *n = node_at(slot);

		if (!n)
			break;
		if (bpf_map_lookup_elem(&favoured, &n->cgroup_id))
			return true;
		slot = n->parent;
	}
	return false;
}

/*
 * Whether what it has by a boost can be taken from its turns. One of hundreds has so little that no
 * more than its patience allows could be taken back from it.
 */
static __always_inline bool can_pay_back(struct agentcg_node *n)
{
	u64 most = settings.patience_ns * nr_online, turns = virtual(2 * settings.slice_ns, n->share ?: ONE);

	return !before(state.vnow + most, n->vtime + turns);
}

/* Whether the cgroup has a boost left; a favoured one gets more once in each window. */
static __always_inline bool has_boost(struct agentcg_node *n, u32 slot, u64 now)
{
	if (!can_pay_back(n))
		return false;
	if (n->boost_ns > 0)
		return true;
	if (now - n->boosted_at_ns < settings.window_ns)
		return false;
	n->boosted_at_ns = now;
	if (!is_favoured(slot))
		return false;
	n->boost_ns = settings.favour_ns;
	return true;
}

static __always_inline bool take_boost(struct task *t, struct agentcg_node *n, struct cpu *c, u64 now)
{
	if (n->idle || !has_boost(n, t->slot, now))
		return false;
	if (now - c->window_ns >= settings.window_ns) {
		c->window_ns = now;
		c->boost_ns = settings.cpu_boost_ns;
	}
	if (c->boost_ns <= 0)
		return false;
	t->boost_ns = settings.boost_ns;
	__sync_fetch_and_add(&n->boost_ns, -(s64)settings.boost_ns);
	__sync_fetch_and_add(&c->boost_ns, -(s64)settings.boost_ns);
	count(&n->boosts);
	return true;
}

/* A task that is enqueued: have it run here next, if its cgroup has a boost left. */
static __always_inline bool boost(struct task_struct *p, struct task *t, struct agentcg_node *n,
				  u64 enq_flags)
{
	struct cpu *c = cpu_at(scx_bpf_task_cpu(p));

	if (!c || (c->taken && p->nr_cpus_allowed > 1) || !take_boost(t, n, c, now_ns()))
		return false;
	if (c->busy && !c->urgent)
		enq_flags |= SCX_ENQ_PREEMPT;
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, settings.boost_ns, enq_flags);
	return true;
}

/* --- Real-time tasks ------------------------------------------------------------------------ */

/*
 * A real-time or deadline task takes the CPU, or leaves it. What waits in the CPU's own queue is
 * there to run next, and must not wait until that one sleeps: it is enqueued anew, for any CPU.
 */
SEC("tp_btf/sched_switch")
int BPF_PROG(agentcg_switch, bool preempted, struct task_struct *prev, struct task_struct *next)
{
	bool takes = is_above(next);
	struct cpu *c;

	if (!agents.root_id && takes == is_above(prev))
		return 0;
	c = cpu_at(bpf_get_smp_processor_id());
	if (!c || (agents.root_id && takes == c->taken)) /* who is taken runs on with another policy */
		return 0;
	c->taken = takes;
	if (!takes)
		return 0;
	count(&state.evicted);
	if (scx_bpf_dsq_reenq)
		scx_bpf_dsq_reenq(SCX_DSQ_LOCAL, 0);
	else if (scx_bpf_reenqueue_local___v2___any)
		scx_bpf_reenqueue_local___v2___any();
	return 0;
}

/* --- Taking over ---------------------------------------------------------------------------- */

/* Whether a task that wakes in `slot` comes before what runs there, with what that has had. */
static __always_inline bool comes_first(struct cpu *c, u32 slot, u64 vtime)
{
	u64 had;

	if (!c->busy || c->urgent)
		return false;
	had = since(c->started_ns, now_ns());
	if (c->slot == slot) /* of one cgroup: by turns */
		return had > settings.slice_ns / 2;
	vtime += settings.slice_ns / 2;
	return before(vtime, c->vtime) || before(vtime, c->vtime + virtual(had, share_of(c->slot)));
}

/* A waking task whose cgroup is behind the one that runs on its CPU takes over. */
static __always_inline void preempt(struct task_struct *p, u32 slot, u64 vtime)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct cpu *c = cpu_at(cpu);

	if (!c || !comes_first(c, slot, vtime))
		return;
	count(&state.preempted);
	scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
}

/* Who slept for long has no claim to all that time. */
static __always_inline void catch_up(struct task *t, struct agentcg_node *n)
{
	u64 least = n->task_vtime - settings.slice_ns;

	if (before(t->vtime, least))
		t->vtime = least;
	if (t->pinned)
		t->flat_vtime = bounded(t->flat_vtime, settings.credit_ns, settings.slice_ns,
					reckon_flat_share(t, n));
}

/* Whether a task that wakes has had more than its part beside what runs on the CPU. */
static __always_inline bool is_ahead(struct cpu *c, struct task *t, struct agentcg_node *n)
{
	if (!c->busy)
		return false;
	if (c->slot == t->slot)
		return before(n->task_vtime + settings.boost_ns, t->vtime);
	return before(c->vtime + settings.slice_ns, n->vtime);
}

/*
 * A task that wakes, and is to run on `cpu`: where nothing waits, only what runs there has to be
 * compared with, and who is not ahead of that follows it without a turn. It is given a millisecond,
 * and so is only one at a time: what comes meanwhile waits no longer for it than for a boost.
 */
static __always_inline bool follow(struct task_struct *p, struct task *t, struct agentcg_node *n,
				   s32 cpu, u64 enq_flags)
{
	struct cpu *c = cpu_at(cpu);

	if (!c || nr_turns || nr_pinned > 0 || is_ahead(c, t, n) ||
	    scx_bpf_dsq_nr_queued(SCX_DSQ_LOCAL_ON | cpu) > 0)
		return false;
	catch_up(t, n);
	if (comes_first(c, t->slot, n->vtime)) {
		count(&state.preempted);
		enq_flags |= SCX_ENQ_PREEMPT;
	}
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, settings.boost_ns, enq_flags);
	return true;
}

#endif
