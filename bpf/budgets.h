/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory budgets: by cgroup, and how long who charges over one has to wait.
 *
 * Shared by what delays with the scheduler (sched_delay.h) and by what delays through the
 * kernel's own interface (memcg_ops.bpf.c).
 */
#ifndef AGENTCG_BUDGETS_H
#define AGENTCG_BUDGETS_H

#include "kfuncs.h"
#include "scheduler.h"

#define MAX_BUDGETS 16384
#define BUDGET_LEVELS 8 /* from the charged cgroup upwards */
#define MAX_DELAY_NS (2000 * NSEC_PER_MSEC) /* the kernel's own for memory.high */
#define SCALE 1024

const volatile struct agentcg_budget_settings budget_settings SEC(".rodata.budget_settings") = {
	.page_bytes = 4096,
	.expiry_ns = 10000 * NSEC_PER_MSEC,
};
struct agentcg_sched_control control SEC(".data.control");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_BUDGETS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct agentcg_budget);
} budgets SEC(".maps"); /* by cgroup id */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_BUDGETS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct agentcg_delays);
} delays SEC(".maps"); /* by cgroup id; made with the budget */

/* The square of the overshoot within soft..hard, as for memory.high; a quarter per priority. */
static __always_inline u64 delay_for(struct agentcg_budget *b, u64 usage_bytes)
{
	u64 most = b->max_delay_ns < MAX_DELAY_NS ? b->max_delay_ns : MAX_DELAY_NS;
	u64 over, span, part = SCALE;

	if (!b->soft_bytes || usage_bytes <= b->soft_bytes)
		return 0;
	over = usage_bytes - b->soft_bytes;
	span = b->hard_bytes > b->soft_bytes ? b->hard_bytes - b->soft_bytes : 0;
	if (over < span)
		part = over * SCALE / span;
	return most * part / SCALE * part / SCALE >> 2 * (b->priority & 3);
}

/* Budgets hold while somebody answers for them. Signed: the heartbeat may come from another CPU
 * after the clock was read here.
 */
static __always_inline bool expired(u64 now)
{
	return (s64)(now - control.heartbeat_ns) >= (s64)budget_settings.expiry_ns;
}

static __always_inline u64 usage_bytes(struct mem_cgroup *memcg)
{
	return BPF_CORE_READ(memcg, memory.usage.counter) * budget_settings.page_bytes;
}

static __always_inline struct mem_cgroup *memcg_of(struct task_struct *p)
{
	struct css_set *set = BPF_CORE_READ(p, cgroups);
	int id = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	struct cgroup_subsys_state *css = NULL;

	bpf_probe_read_kernel(&css, sizeof(css), &set->subsys[id]);
	return css ? (void *)css - bpf_core_field_offset(struct mem_cgroup, css) : NULL;
}

static __always_inline struct mem_cgroup *memcg_above(struct mem_cgroup *memcg)
{
	struct cgroup_subsys_state *parent = BPF_CORE_READ(memcg, css.parent);

	return parent ? (void *)parent - bpf_core_field_offset(struct mem_cgroup, css) : NULL;
}

struct verdict {
	u64 delay_ns;
	u64 cgroup_id; /* whose budget it is */
	u64 over_bytes;
};

/* The longest delay that budgets of this cgroup and of those above it ask for. */
static __always_inline void judge(struct mem_cgroup *memcg, u64 more_pages, struct verdict *v)
{
	s32 i;

	for_range(i, 0, BUDGET_LEVELS) {
		u64 id, usage, delay;
		struct agentcg_budget *b;

		if (!memcg)
			break;
		id = BPF_CORE_READ(memcg, css.cgroup, kn, id);
		b = bpf_map_lookup_elem(&budgets, &id);
		if (b) {
			usage = usage_bytes(memcg) + more_pages * budget_settings.page_bytes;
			delay = delay_for(b, usage);
			if (delay > v->delay_ns) {
				v->delay_ns = delay;
				v->cgroup_id = id;
				v->over_bytes = usage - b->soft_bytes;
			}
		}
		memcg = memcg_above(memcg);
	}
}

/* A delay of this length is over, or certain: have it in the account of the budget. */
static __always_inline struct agentcg_delays *account_delay(u64 cgroup_id, u64 took_ns,
							    u64 over_bytes)
{
	struct agentcg_delays *d = bpf_map_lookup_elem(&delays, &cgroup_id);

	if (!d)
		return NULL;
	__sync_fetch_and_add(&d->count, 1);
	__sync_fetch_and_add(&d->total_ns, took_ns);
	if (took_ns > d->longest_ns)
		d->longest_ns = took_ns;
	if (over_bytes > d->overshoot_bytes)
		d->overshoot_bytes = over_bytes;
	return d;
}

#endif
