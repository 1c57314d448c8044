/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Delays: who allocates over a budget, or has used up cpu.max, waits where it returns to user mode.
 *
 * `agentcg_charge` sees a charge that exceeds a budget and asks for a callback at the task's
 * return to user mode. The callback settles how long the task waits and has its CPU preempted;
 * enqueued, the task goes to the delay queue, in order of release. Nobody else waits: the task
 * holds no lock there and is in no RCU section, and its cgroup goes on.
 *
 * A timer releases. It also looks through the queue every `sweep_ns`, for tasks that are killed,
 * stopped or frozen, and for budgets that are no longer exceeded.
 */
#ifndef AGENTCG_SCHED_DELAY_H
#define AGENTCG_SCHED_DELAY_H

#include "budgets.h"
#include "sched_quota.h"
#include "sched_trace.h"
#include "sched_turns.h"

#define DELAY_QUEUE 0x300000000ULL
#define SWEEP_TASKS 4096 /* of which it is seen in one go whether they are due, or die */
#define SWEEP_JUDGED 256 /* ... and whether anything still holds them back: that takes longer */
#define NO_BUDGET 0 /* who waits for cpu.max exceeds none */
#define MIN_DELAY_NS (NSEC_PER_MSEC / 10) /* less is not worth two context switches */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} delay_events SEC(".maps");

struct work {
	struct bpf_task_work work;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4 * MAX_BUDGETS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct work);
} works SEC(".maps"); /* by thread id; from a task's first delay to its end */

struct delay_timer {
	struct bpf_timer timer;
	u64 due_ns; /* 0: not armed */
	u64 judged; /* how far into the queue the last sweeps got with that */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct delay_timer);
} delay_timer SEC(".maps");

/* --- The delay queue ------------------------------------------------------------------------ */

static __always_inline void arm(u64 due_ns, u64 now)
{
	u32 key = 0;
	struct delay_timer *t = bpf_map_lookup_elem(&delay_timer, &key);

	if (!t || (t->due_ns && t->due_ns >= now && t->due_ns <= due_ns))
		return;
	t->due_ns = due_ns;
	if (bpf_timer_start(&t->timer, due_ns, BPF_F_TIMER_ABS))
		t->due_ns = 0;
}

/* It has to get on with something else than its work: die, stop, freeze, be traced. */
static __always_inline bool interrupted(struct task_struct *p)
{
	return (p->pending.signal.sig[0] & SIGKILL_MASK) || (p->jobctl & JOBCTL_WANTED) ||
	       (p->flags & PF_EXITING);
}

/* Whether a task that runs has to stop for a delay. */
static __always_inline bool has_to_wait(struct task *t)
{
	if (t->delay_until_ns && t->delay_until_ns <= bpf_ktime_get_ns())
		t->delay_until_ns = 0; /* it was over before it began */
	return t->delay_until_ns;
}

/* Send a task that is enqueued to the delay queue, if it has to wait. */
static __always_inline bool delay(struct task_struct *p, struct task *t, u64 enq_flags)
{
	u64 now, until = t->delay_until_ns;
	struct verdict v = {};

	if (!until)
		return false;
	now = bpf_ktime_get_ns();
	if (until <= now || interrupted(p)) {
		t->delay_until_ns = 0;
		return false;
	}
	if (enq_flags & SCX_ENQ_WAKEUP) /* else it was stopped just now */
		t->delayed_ns = now;
	if (t->delay_cgroup_id != NO_BUDGET) { /* a long call went on charging */
		judge(memcg_of(p), 0, &v);
		if (v.cgroup_id == t->delay_cgroup_id && v.over_bytes > t->delay_over_bytes)
			t->delay_over_bytes = v.over_bytes;
	}
	count(&state.delayed);
	set_quiescent(t);
	scx_bpf_dsq_insert_vtime(p, DELAY_QUEUE, settings.slice_ns, until, enq_flags);
	arm(until < now + settings.sweep_ns ? until : now + settings.sweep_ns, now);
	return true;
}

static __always_inline void record_delay(struct task_struct *p, struct task *t, u64 now)
{
	struct agentcg_delays *d = account_delay(t->delay_cgroup_id, now - t->delayed_ns,
						 t->delay_over_bytes);
	struct agentcg_delay_event *event;

	if (!d || !d->trace)
		return;
	event = bpf_ringbuf_reserve(&delay_events, sizeof(*event), 0);
	if (!event) {
		count(&state.events_lost);
		return;
	}
	event->cgroup_id = t->delay_cgroup_id;
	event->pid = p->pid;
	event->pad = 0;
	event->noticed_ns = t->delay_noticed_ns;
	event->waited_ns = t->delay_waited_ns;
	event->stopped_ns = t->delayed_ns;
	event->until_ns = t->delay_until_ns;
	event->released_ns = now;
	event->over_bytes = t->delay_over_bytes;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

/* Move a task from the delay queue to where it waits for a CPU. */
static __always_inline void release(struct bpf_iter_scx_dsq *it, struct task_struct *p,
				    struct task *t, u64 now)
{
	struct agentcg_node *n = node_at(t->slot);
	struct claim claim;
	s32 cpu;

	if (!n)
		return;
	record_delay(p, t, now);
	if (traced)
		trace(p, t, 0, now - t->delayed_ns);
	t->delay_until_ns = 0;
	set_runnable(p, t);
	t->ready_ns = now_ns();
	if (!unrestricted(p)) {
		cpu = scx_bpf_task_cpu(p);
		t->flat_vtime = bounded(t->pinned ? t->flat_vtime : n->vtime, settings.credit_ns,
					settings.slice_ns, reckon_flat_share(t, n));
		t->pinned = 1;
		set_queued(t, n, OF_CPU);
		scx_bpf_dsq_move_set_vtime(it, t->flat_vtime);
		if (scx_bpf_dsq_move_vtime(it, p, CPU_QUEUE + cpu, 0))
			scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
		return; /* who was quicker and took it says where it waits */
	}
	t->pinned = 0;
	set_queued(t, n, OF_CGROUP);
	scx_bpf_dsq_move_set_vtime(it, t->vtime);
	if (!scx_bpf_dsq_move_vtime(it, p, NODE_QUEUE + t->slot, 0))
		return;
	claim = claim_of(n, t->slot);
	want_turn(t->slot, &claim);
	kick_idle();
}

/* Release who is due, and whom nothing holds back any more. */
static int sweep(void *map, u32 *key, struct delay_timer *timer)
{
	u64 now = bpf_ktime_get_ns(), next = 0, from = timer->judged;
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	s32 i;

	timer->due_ns = 0;
	timer->judged = from + SWEEP_JUDGED < SWEEP_TASKS ? from + SWEEP_JUDGED : 0;
	bpf_rcu_read_lock();
	bpf_iter_scx_dsq_new(&it, DELAY_QUEUE, 0);
	for_range(i, 0, SWEEP_TASKS) {
		struct verdict v = {};
		struct task *t;

		p = bpf_iter_scx_dsq_next(&it);
		if (!p) {
			if (i <= from + SWEEP_JUDGED)
				timer->judged = 0;
			break;
		}
		t = task_of(p);
		if (!t)
			continue;
		if (t->delay_until_ns > now && !interrupted(p)) {
			if (!next)
				next = t->delay_until_ns;
			if (i < from || i >= from + SWEEP_JUDGED)
				continue;
			if (t->delay_cgroup_id == NO_BUDGET)
				v.delay_ns = spend(t->slot, 0);
			else
				judge(memcg_of(p), 0, &v);
			if (v.delay_ns)
				continue;
		}
		release(&it, p, t, now);
	}
	bpf_iter_scx_dsq_destroy(&it);
	bpf_rcu_read_unlock();
	if (scx_bpf_dsq_nr_queued(DELAY_QUEUE) > 0) {
		if (!next || next > now + settings.sweep_ns)
			next = now + settings.sweep_ns;
		arm(next, now);
	}
	return 0;
}

static __always_inline s32 init_delay(void)
{
	u32 key = 0;
	struct delay_timer *t = bpf_map_lookup_elem(&delay_timer, &key);

	if (!t)
		return -2; /* ENOENT */
	bpf_timer_init(&t->timer, &delay_timer, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&t->timer, sweep);
	return scx_bpf_create_dsq(DELAY_QUEUE, -1);
}

/* --- Noticing -------------------------------------------------------------------------------- */

/*
 * At the return to user mode. The kick is queued with interrupts off and takes effect when they
 * are back on, outside of its own RCU section: who is stopped inside one holds up everybody's
 * grace periods.
 */
static int settle_delay(struct bpf_map *map, void *key, void *value)
{
	struct task *t = task_of(bpf_get_current_task_btf());
	unsigned long flags;

	if (!t || !t->delay_ns)
		return 0;
	t->delay_until_ns = bpf_ktime_get_ns() + t->delay_ns;
	t->delay_ns = 0;
	bpf_local_irq_save(&flags);
	scx_bpf_kick_cpu(bpf_get_smp_processor_id(), SCX_KICK_PREEMPT);
	bpf_local_irq_restore(&flags);
	return 0;
}

/* Have the task, which runs, stopped for so long where it returns to user mode. */
static __always_inline void request_delay(struct task_struct *p, struct task *t, u64 delay_ns)
{
	u32 pid = p->pid;
	struct work none = {}, *w = bpf_map_lookup_elem(&works, &pid);

	if (!w) {
		if (bpf_map_update_elem(&works, &pid, &none, BPF_NOEXIST)) {
			count(&state.delays_refused);
			return;
		}
		t->has_work = 1;
		w = bpf_map_lookup_elem(&works, &pid);
		if (!w)
			return;
	}
	t->delay_ns = delay_ns;
	if (bpf_task_work_schedule_resume(p, &w->work, &works, settle_delay)) {
		t->delay_ns = 0;
		count(&state.delays_refused);
	}
}

/* A task that runs, of a cgroup whose cpu.max is used up until then. */
static __always_inline void throttle(struct task_struct *p, struct task *t, u64 until)
{
	u64 now;

	if (!bpf_task_work_schedule_resume || !bpf_local_irq_save) /* user space tells (memory_delay.py) */
		return;
	if (!until || t->delay_ns || t->delay_until_ns || (p->flags & (PF_KTHREAD | PF_EXITING)))
		return;
	now = bpf_ktime_get_ns();
	if (until < now + MIN_DELAY_NS)
		return;
	t->delay_cgroup_id = NO_BUDGET;
	request_delay(p, t, until - now < MAX_DELAY_NS ? until - now : MAX_DELAY_NS);
}

/* Called for every batch of charges that the CPU's stock does not cover (64 pages). */
SEC("fentry/page_counter_try_charge")
int BPF_PROG(agentcg_charge, struct page_counter *counter, unsigned long nr_pages)
{
	struct verdict v = {};
	struct task_struct *p;
	struct mem_cgroup *memcg;
	struct task *t;
	u64 now;

	if (!control.budgets)
		return 0;
	p = bpf_get_current_task_btf();
	if (p->flags & (PF_KTHREAD | PF_EXITING))
		return 0;
	t = task_of(p);
	if (!t || t->delay_ns || t->delay_until_ns)
		return 0;
	memcg = memcg_of(p);
	/* Counters of swap, sockets and hugetlb pass here too, and charges to others. */
	if (!memcg ||
	    (u64)counter != (u64)memcg + bpf_core_field_offset(struct mem_cgroup, memory))
		return 0;
	judge(memcg, nr_pages, &v);
	if (v.delay_ns < MIN_DELAY_NS)
		return 0;
	now = bpf_ktime_get_ns();
	if (expired(now))
		return 0;
	t->delay_cgroup_id = v.cgroup_id;
	t->delay_over_bytes = v.over_bytes;
	t->delay_noticed_ns = now;
	t->delay_waited_ns = 0;
	request_delay(p, t, v.delay_ns);
	return 0;
}

/* The task is gone. */
static __always_inline void forget_delay(struct task_struct *p, struct task *t)
{
	u32 pid = p->pid;

	if (t->has_work)
		bpf_map_delete_elem(&works, &pid);
}

#endif
