// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory delay and protection through the kernel's own interface, struct memcg_bpf_ops.
 *
 * Problem: a kernel that asks a program how long a charge has to wait needs neither a scheduler
 * of ours nor a probe for it. No released kernel does; the patches are in review, in two forms.
 * The earlier asks get_high_delay_ms() when a charge is done; the later tells of each charge by
 * memcg_charged(), whose result is the delay, and passes more to below_low() and below_min().
 * Each form has its set of programs here; user space loads the one that the kernel's BTF has.
 *
 * The types are declared by hand: names before the ___ are the kernel's, members are found by
 * name, and those that are left out stay empty. The kernel waits in the charge, for 2 s at most,
 * as for memory.high, and so with what locks the task holds there.
 */
#include "budgets.h"

#define SHORTEST_NS (11 * NSEC_PER_MSEC) /* the kernel leaves out a hundredth of a second and less */

char LICENSE[] SEC("license") = "GPL";

struct memcg_bpf_ops___delay {
	bool (*below_low)(struct mem_cgroup *memcg);
	bool (*below_min)(struct mem_cgroup *memcg);
	unsigned int (*get_high_delay_ms)(struct mem_cgroup *memcg);
};

struct memcg_bpf_ops___charge {
	bool (*below_low)(struct mem_cgroup *memcg, unsigned long elow, unsigned long usage);
	bool (*below_min)(struct mem_cgroup *memcg, unsigned long emin, unsigned long usage);
	unsigned int (*memcg_charged)(struct mem_cgroup *memcg, unsigned int nr_pages);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_BUDGETS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct agentcg_protection);
} protections SEC(".maps"); /* by cgroup id; of what is below, too */

/* Whether this cgroup, or one above it, uses less than it is promised. */
static __always_inline bool is_protected(struct mem_cgroup *memcg, bool hard)
{
	s32 i;

	if (!control.protections || expired(bpf_ktime_get_ns()))
		return false;
	for_range(i, 0, BUDGET_LEVELS) {
		struct agentcg_protection *promised;
		u64 id;

		if (!memcg)
			break;
		id = BPF_CORE_READ(memcg, css.cgroup, kn, id);
		promised = bpf_map_lookup_elem(&protections, &id);
		if (promised && usage_bytes(memcg) <
				(hard ? promised->min_bytes : promised->low_bytes))
			return true;
		memcg = memcg_above(memcg);
	}
	return false;
}

/*
 * Whether this task can be held up for what it charges to this cgroup. It has to be one of the
 * cgroup's own: who takes a page of it out of swap, or writes for it, as kernel threads do, is not
 * to blame. One that dies, or reclaims memory for others, has to get on.
 */
static __always_inline bool may_wait(struct task_struct *p, struct mem_cgroup *memcg)
{
	return !(p->flags & (PF_EXITING | PF_MEMALLOC)) && memcg == memcg_of(p);
}

/* The delay, or 0 while it and those before it are too short together: they are owed. */
static __always_inline u64 with_owed(struct verdict *v)
{
	struct agentcg_budget *b = bpf_map_lookup_elem(&budgets, &v->cgroup_id);
	u64 ns = v->delay_ns;

	if (!b || ns >= SHORTEST_NS)
		return ns;
	ns += b->owed_ns;
	if (ns < SHORTEST_NS) {
		b->owed_ns = ns; /* what two CPUs lose of it is little */
		return 0;
	}
	b->owed_ns = ns - SHORTEST_NS;
	return SHORTEST_NS;
}

/* How long the task that charged this cgroup has to wait, in ms. */
static __always_inline unsigned int delay_ms(struct mem_cgroup *memcg)
{
	struct verdict v = {};
	u64 ms;

	if (!control.budgets || expired(bpf_ktime_get_ns()) ||
	    !may_wait(bpf_get_current_task_btf(), memcg))
		return 0;
	judge(memcg, 0, &v);
	if (!v.delay_ns)
		return 0;
	ms = with_owed(&v) / NSEC_PER_MSEC;
	if (!ms)
		return 0;
	account_delay(v.cgroup_id, ms * NSEC_PER_MSEC, v.over_bytes);
	return ms;
}

SEC("struct_ops/below_low")
bool BPF_PROG(delay_below_low, struct mem_cgroup *memcg)
{
	return is_protected(memcg, false);
}

SEC("struct_ops/below_min")
bool BPF_PROG(delay_below_min, struct mem_cgroup *memcg)
{
	return is_protected(memcg, true);
}

SEC("struct_ops/get_high_delay_ms")
unsigned int BPF_PROG(delay_get_high_delay_ms, struct mem_cgroup *memcg)
{
	return delay_ms(memcg);
}

SEC("struct_ops/below_low")
bool BPF_PROG(charge_below_low, struct mem_cgroup *memcg, unsigned long elow, unsigned long usage)
{
	return is_protected(memcg, false);
}

SEC("struct_ops/below_min")
bool BPF_PROG(charge_below_min, struct mem_cgroup *memcg, unsigned long emin, unsigned long usage)
{
	return is_protected(memcg, true);
}

SEC("struct_ops/memcg_charged")
unsigned int BPF_PROG(charge_memcg_charged, struct mem_cgroup *memcg, unsigned int nr_pages)
{
	return delay_ms(memcg);
}

SEC(".struct_ops.link")
struct memcg_bpf_ops___delay delay_ops = {
	.below_low = (void *)delay_below_low,
	.below_min = (void *)delay_below_min,
	.get_high_delay_ms = (void *)delay_get_high_delay_ms,
};

SEC(".struct_ops.link")
struct memcg_bpf_ops___charge charge_ops = {
	.below_low = (void *)charge_below_low,
	.below_min = (void *)charge_below_min,
	.memcg_charged = (void *)charge_memcg_charged,
};
