/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nodes: what the scheduler knows of each cgroup, and the shares that follow from it.
 *
 * A cgroup's share is the product, from itself up to the root, of its weight over the weights of
 * all that are active beside it. It is computed when time is charged, so nothing has to be
 * updated below a cgroup whose weight or neighbours change: activity only moves upwards, and
 * stops at the first ancestor that was active already.
 */
#ifndef AGENTCG_SCHED_NODES_H
#define AGENTCG_SCHED_NODES_H

#include "kfuncs.h"
#include "scheduler.h"

#define MAX_SLOTS 16384
#define MAX_LEVELS 24 /* deeper cgroups are flattened into the one at this depth */
#define ONE_BITS 24
#define ONE (1ULL << ONE_BITS) /* the whole machine, as a share */
#define TASK_WEIGHT 100 /* of nice 0 */
#define NO_QUOTA (1ULL << 50) /* in us; the kernel's "max" is more */

const volatile struct agentcg_sched_settings settings SEC(".rodata.settings") = {
	.slice_ns = 3 * NSEC_PER_MSEC,
	.credit_ns = 5 * NSEC_PER_MSEC,
	.lag_ns = 200 * NSEC_PER_MSEC,
	.patience_ns = 5000 * NSEC_PER_MSEC,
	.sweep_ns = 10 * NSEC_PER_MSEC,
	.boost_ns = NSEC_PER_MSEC,
	.stretch_ns = 20 * NSEC_PER_MSEC,
	.favour_ns = 10 * NSEC_PER_MSEC,
	.cpu_boost_ns = 10 * NSEC_PER_MSEC,
	.window_ns = 100 * NSEC_PER_MSEC,
};
struct agentcg_sched_state state SEC(".data.state");
s32 nr_online = 1;
u32 fresh SEC(".data.fresh") = 0; /* slots from here on were never used */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_SLOTS);
	__type(key, u32);
	__type(value, struct agentcg_node);
} nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4 * MAX_SLOTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, u32);
} slots SEC(".maps"); /* cgroup id -> slot */

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, MAX_SLOTS);
	__type(value, u32);
} free_slots SEC(".maps"); /* used before; a queue, so that reuse comes late */

enum queue { NO_QUEUE, OF_CGROUP, OF_CPU };
s64 nr_pinned; /* tasks that wait in queues of CPUs */

struct task {
	u64 started_ns; /* since when its time is to be charged */
	u64 share;      /* of its cgroup, at that time */
	u64 ready_ns;   /* since when it waits for a CPU; 0: it does not */
	u64 vtime;      /* among the tasks of its cgroup */
	u64 flat_vtime; /* while pinned: among all that wait on a CPU */
	u64 flat_share; /* ... and its part of its cgroup's share, when that was last reckoned */
	u32 slot;
	u32 weight; /* as it counts in own_weight; 0: it does not compete */
	u32 queued; /* enum queue: where it is counted as waiting */
	u32 pinned; /* it waits in a CPU's queue, not in its cgroup's */
	u32 has_work;
	u32 boosted;    /* the present turn, or the last, is a boost */
	u64 turn_ns;    /* when it began */
	u64 waited_ns;  /* ... and what it waited before */
	u64 boost_ns; /* what it may run for by a boost; 0: it does not */
	u64 delay_ns;       /* how long it is to wait, from its return to user mode on */
	u64 delay_until_ns; /* 0: it has not to wait */
	u64 delayed_ns;     /* since when it waits */
	u64 delay_noticed_ns;
	u64 delay_waited_ns; /* for a CPU since then */
	u64 delay_cgroup_id;
	u64 delay_over_bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task);
} tasks SEC(".maps");

static __always_inline struct agentcg_node *node_at(u32 slot)
{
	return bpf_map_lookup_elem(&nodes, &slot);
}

static __always_inline struct task *task_of(struct task_struct *p)
{
	return bpf_task_storage_get(&tasks, p, NULL, 0);
}

/* Nanoseconds of the CPU's clock as it was last read; of its own, not of CLOCK_MONOTONIC. */
static __always_inline u64 now_ns(void)
{
	return scx_bpf_now ? scx_bpf_now() : bpf_ktime_get_ns();
}

static __always_inline bool before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

/* From `a` to `b`, which may have been read on another CPU, whose clock may be behind. */
static __always_inline u64 since(u64 a, u64 b)
{
	return before(b, a) ? 0 : b - a;
}

static __always_inline void count(u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

/* A program runs with migration disabled, and counts if the task is the one that runs it. */
static __always_inline bool migration_disabled(struct task_struct *p)
{
	return p->migration_disabled > (p == bpf_get_current_task_btf());
}

/*
 * A kernel thread of one CPU, which goes ahead when it wakes. One that sleeps again before its slice
 * is over does not compete: it is as an interrupt to the others, and nobody's share changes for it.
 */
static __always_inline bool is_cpus_own(struct task_struct *p)
{
	return (p->flags & PF_KTHREAD) && p->nr_cpus_allowed == 1;
}

/* May the task run on all CPUs that are there? */
static __always_inline bool unrestricted(struct task_struct *p)
{
	return p->nr_cpus_allowed >= nr_online && !migration_disabled(p);
}

/* The slot of a cgroup: its own, or of the nearest ancestor that has one. */
static __always_inline u32 slot_of(u64 cgroup_id)
{
	u32 *slot = bpf_map_lookup_elem(&slots, &cgroup_id);

	return slot ? *slot : AGENTCG_ROOT_SLOT;
}

static __always_inline u64 weight_of(struct agentcg_node *n)
{
	return n->idle ? 1 : n->weight ?: 1;
}

/*
 * Let `counted` follow whether the node is active and what it weighs, and the parent's sums follow
 * `counted`. Whoever changes either calls this afterwards, and each looks again after its
 * exchange: the last of several at once sees the final state. True: the parent gained or lost
 * an active child.
 */
static __always_inline bool recount(struct agentcg_node *n, struct agentcg_node *parent)
{
	bool changed = false;

	for (int i = 0; i < 3; i++) {
		u64 wanted = n->active > 0 ? weight_of(n) : 0;
		u64 was = __sync_lock_test_and_set(&n->counted, wanted);

		if (wanted != was)
			__sync_fetch_and_add(&parent->child_weight, (s64)(wanted - was));
		if (!was && wanted)
			__sync_fetch_and_add(&parent->active, 1);
		else if (was && !wanted)
			__sync_fetch_and_add(&parent->active, -1);
		if (!was != !wanted)
			changed = true;
		if (wanted == (n->active > 0 ? weight_of(n) : 0))
			break;
	}
	return changed;
}

/* `active` or the weight of `slot` changed: have its ancestors follow. */
static __noinline int propagate(u32 slot)
{
	s32 i;

	for_range(i, 0, MAX_LEVELS) {
		struct agentcg_node *n = node_at(slot), *parent;

		if (!n)
			break;
		parent = node_at(n->parent);
		if (!parent || !recount(n, parent))
			break;
		slot = n->parent;
	}
	return 0;
}

/* The share of the machine that tasks of `slot` have now, at least 1. */
static __noinline u64 share_of(u32 slot)
{
	struct agentcg_node *n = node_at(slot);
	u64 share = ONE;

	if (!n)
		return ONE;
	if (n->child_weight > 0) /* only the root, and threaded cgroups, have both */
		share = share * (n->own_weight > 0 ? n->own_weight : TASK_WEIGHT) /
			((n->own_weight > 0 ? n->own_weight : TASK_WEIGHT) + n->child_weight);
	for (s32 i = 0; i < MAX_LEVELS; i++) {
		struct agentcg_node *parent = node_at(n->parent);
		u64 weight = n->counted ?: weight_of(n), all;

		if (!parent)
			break;
		all = parent->child_weight + (parent->own_weight > 0 ? parent->own_weight : 0);
		if (all > weight)
			share = share * weight / all;
		n = parent;
	}
	return share ?: 1;
}

/* Before it is in the queue, and until it runs: who sees nothing waiting may rely on it. */
static __always_inline void set_queued(struct task *t, struct agentcg_node *n, enum queue queue)
{
	u32 was = __sync_lock_test_and_set(&t->queued, queue); /* a timer releases tasks, too */

	if (was == queue)
		return;
	if (was == OF_CGROUP || queue == OF_CGROUP)
		__sync_fetch_and_add(&n->queued, queue == OF_CGROUP ? 1 : -1);
	if (was == OF_CPU || queue == OF_CPU)
		__sync_fetch_and_add(&nr_pinned, queue == OF_CPU ? 1 : -1);
}

static __always_inline void set_dequeued(struct task *t)
{
	struct agentcg_node *n = t->queued ? node_at(t->slot) : NULL;

	if (n)
		set_queued(t, n, NO_QUEUE);
}

/* How many cgroups have a quota: with none, nothing has to be looked for when time is charged. */
static __always_inline void set_bandwidth(struct agentcg_node *n, u64 quota_us)
{
	bool set = quota_us < NO_QUOTA;

	__sync_fetch_and_add(&state.bandwidths, (s64)set - n->bandwidth);
	n->bandwidth = set;
}

/* One reference less; the last one gives the slot back. */
static __always_inline void release_slot(u32 slot)
{
	struct agentcg_node *n = node_at(slot);

	if (!n || __sync_fetch_and_add(&n->refs, -1) != 1)
		return;
	n->cgroup_id = 0;
	set_bandwidth(n, NO_QUOTA);
	bpf_map_push_elem(&free_slots, &slot, 0);
	__sync_fetch_and_add(&state.nodes, -1);
}

#endif
