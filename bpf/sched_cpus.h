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

#include "sched_delay.h"

#define MAX_CPUS 1024

struct cpu {
	u64 vtime; /* virtual time of the cgroup that runs there, when it began */
	u64 started_ns;
	u64 window_ns; /* when the present window of boosts began */
	s64 boost_ns;  /* what is left of it */
	u32 slot;
	u32 busy;
	u32 urgent; /* what runs there is a boost or a kernel thread: nobody takes over */
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

/* Charge the time since `started_ns` to the task, its cgroup, and the boost that it ran by. */
static __always_inline void charge(struct task *t, struct agentcg_node *n, struct cpu *c, u64 now)
{
	u64 used = now - t->started_ns;
	s64 unused = t->boost_ns - used;

	t->started_ns = now;
	t->vtime += used * TASK_WEIGHT / (t->weight ?: TASK_WEIGHT);
	if (t->pinned)
		t->flat_vtime += virtual(used, flat_share(t, n));
	__sync_fetch_and_add(&n->vtime, virtual(used, share_of(t->slot)));
	__sync_fetch_and_add(&n->run_ns, used);
	if (!t->boost_ns)
		return;
	t->boost_ns = 0;
	__sync_fetch_and_add(&n->boost_ns, unused);
	__sync_fetch_and_add(&c->boost_ns, unused);
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

/* Whether the cgroup has a boost left; a favoured one gets more once in each window. */
static __always_inline bool has_boost(struct agentcg_node *n, u32 slot, u64 now)
{
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

	if (!c || !take_boost(t, n, c, bpf_ktime_get_ns()))
		return false;
	if (c->busy && !c->urgent)
		enq_flags |= SCX_ENQ_PREEMPT;
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, settings.boost_ns, enq_flags);
	return true;
}

/* --- Taking over ---------------------------------------------------------------------------- */

/* Of whatever runs on the CPU, with what it has had since it began. */
static __always_inline u64 vtime_now(struct cpu *c)
{
	return c->vtime + virtual(bpf_ktime_get_ns() - c->started_ns, share_of(c->slot));
}

/* A waking task whose cgroup is behind the one that runs on its CPU takes over. */
static __always_inline void preempt(struct task_struct *p, u64 vtime)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct cpu *c = cpu_at(cpu);

	if (!c || !c->busy || c->urgent)
		return;
	vtime += settings.slice_ns / 2;
	if (!before(vtime, c->vtime) && !before(vtime, vtime_now(c)))
		return;
	count(&state.preempted);
	scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
}

#endif
