/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cpu.max: what a cgroup, with all below it, may use in each period.
 *
 * Time that is charged is taken from the quota of the cgroup and of those above it. Each task of a
 * cgroup that has nothing left is stopped where it returns to user mode, as for memory delay and
 * for the same reason, until a period begins in which something is left. What was used beyond the
 * quota meanwhile (in the kernel, or by tasks on other CPUs) is owed: over several periods it comes
 * out right. Not more than DEBT_PERIODS are owed: time for which a hypervisor did not run the CPU
 * counts as used, and nobody is to wait for minutes because of that.
 */
#ifndef AGENTCG_SCHED_QUOTA_H
#define AGENTCG_SCHED_QUOTA_H

#include "sched_nodes.h"

#define DEBT_PERIODS 10

struct quota {
	u64 period_ns;
	u64 quota_ns;
	s64 most_ns;  /* that can be left: a quota, and cpu.max.burst */
	s64 left_ns;  /* below 0: owed */
	u64 since_ns; /* when the present period began; CLOCK_MONOTONIC */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SLOTS);
	__type(key, u32);
	__type(value, struct quota);
} quotas SEC(".maps"); /* of nodes with `bandwidth` */

static __always_inline void set_quota(struct agentcg_node *n, u32 slot, u64 period_us, u64 quota_us,
				      u64 burst_us)
{
	struct quota *q = bpf_map_lookup_elem(&quotas, &slot);

	if (!q || !period_us || !quota_us)
		return;
	if (quota_us < NO_QUOTA) {
		q->period_ns = period_us * NSEC_PER_USEC;
		q->quota_ns = quota_us * NSEC_PER_USEC;
		q->most_ns = (quota_us + burst_us) * NSEC_PER_USEC;
		q->left_ns = q->quota_ns;
		q->since_ns = bpf_ktime_get_ns();
	}
	set_bandwidth(n, quota_us);
}

/* Of several CPUs that find the period over, one adds the quota. */
static __always_inline void refill(struct quota *q, u64 now)
{
	u64 since = q->since_ns, periods;
	s64 more, room;

	if (!q->period_ns || now - since < q->period_ns || before(now, since))
		return;
	periods = (now - since) / q->period_ns;
	if (__sync_val_compare_and_swap(&q->since_ns, since, since + periods * q->period_ns) != since)
		return;
	more = periods * q->quota_ns;
	room = q->most_ns - q->left_ns;
	__sync_fetch_and_add(&q->left_ns, more < room ? more : room);
}

/* Take `used_ns` from all quotas above; until when its tasks have to wait now, 0: they have not. */
static __noinline u64 spend(u32 slot, u64 used_ns)
{
	u64 now = bpf_ktime_get_ns(), until = 0, free_at;
	s32 i;

	for_range(i, 0, MAX_LEVELS) {
		struct agentcg_node *n = node_at(slot);
		struct quota *q = bpf_map_lookup_elem(&quotas, &slot);
		s64 left;

		if (!n || !q)
			break;
		slot = n->parent;
		if (!n->bandwidth || !q->quota_ns)
			continue;
		refill(q, now);
		left = __sync_fetch_and_add(&q->left_ns, -(s64)used_ns) - (s64)used_ns;
		if (left > 0)
			continue;
		if (left < -(s64)(DEBT_PERIODS * q->quota_ns)) {
			left = -(s64)(DEBT_PERIODS * q->quota_ns);
			q->left_ns = left;
		}
		free_at = q->since_ns + q->period_ns * (1 + (u64)-left / q->quota_ns);
		if (free_at > until)
			until = free_at;
	}
	return until;
}

#endif
