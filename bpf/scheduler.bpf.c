// SPDX-License-Identifier: GPL-2.0-only
/*
 * A sched_ext scheduler: CPU time by cpu.weight over the whole tree of cgroups.
 *
 * Problem: in-kernel memory delay needs a say in who runs next, and a scheduler that has that
 * say must do for every task of the host what the kernel's own does: weights, nice levels,
 * affinity.
 *
 * Every cgroup has a virtual time: what its own tasks used, divided by the share of the machine
 * that it had then (sched_vtime.h). Of the cgroups with waiting tasks, and not more than their part so
 * far, a CPU that needs work takes the one that is due first (sched_turns.h) and runs its first
 * task, by virtual time. Example: a (weight 100, one busy task) and b (300, two busy tasks) on one CPU.
 * a's share is 1/4, b's 3/4; a slice of 3 ms moves a on by 12 ms and b by 4 ms, so b gets three
 * turns for each of a. Picking costs O(log cgroups that wait + log tasks in one), charging O(depth).
 *
 * Tasks that may not run on every CPU wait in a queue of one CPU that they may use. It is ordered
 * by a virtual time of their own, for a share that is the cgroup's divided among its tasks, and
 * the CPU compares its first with the trees'.
 *
 * Limits: two trees for all CPUs; real-time and deadline tasks are above this scheduler, as ever.
 * A CPU that goes offline has to be emptied, and what waits in a queue of its own is nobody else's:
 * so there are no operations for hotplug, and the kernel ends the scheduler with the request to load
 * it again.
 */
#include "sched_members.h"
#include "sched_pick.h"

char LICENSE[] SEC("license") = "GPL";

/* Whether a task of ours runs there: what waits for a real-time task is for any CPU. */
static __always_inline bool is_busy(s32 cpu)
{
	struct cpu *c = cpu_at(cpu);

	return c && c->busy;
}

s32 OP(select_cpu)(agentcg_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags & ~(u64)SCX_WAKE_SYNC, &idle);
	s32 here = bpf_get_smp_processor_id();
	struct task *t = task_of(p);
	struct agentcg_node *n;

	if (!t || !(n = node_at(t->slot)))
		return cpu;
	t->ready_ns = now_ns();
	if (idle) {
		set_runnable(p, t); /* before the waker sleeps: its cgroup stays active */
		catch_up(t, n);
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, settings.slice_ns, 0);
	} else if ((wake_flags & SCX_WAKE_SYNC) && n->boost_ns <= 0 && is_busy(here) &&
		   bpf_cpumask_test_cpu(here, p->cpus_ptr) && !migration_disabled(p) &&
		   follow(p, t, n, here, 0)) {
		return here; /* the waker is about to sleep */
	}
	return cpu;
}

static __always_inline bool is_taken(s32 cpu)
{
	struct cpu *c = cpu_at(cpu);

	return c && c->taken;
}

/* Of the CPUs that the task may use: an idle one, else one where few wait, and no real-time task. */
static __always_inline s32 pinned_cpu(struct task_struct *p)
{
	s32 here = scx_bpf_task_cpu(p), other;

	if (p->nr_cpus_allowed == 1 || migration_disabled(p))
		return here;
	other = scx_bpf_pick_any_cpu(p->cpus_ptr, 0);
	if (other < 0 || other == here)
		return here;
	if (is_taken(here) != is_taken(other))
		return is_taken(here) ? other : here;
	if (scx_bpf_dsq_nr_queued(CPU_QUEUE + other) > scx_bpf_dsq_nr_queued(CPU_QUEUE + here))
		return here;
	return other;
}

static __always_inline void enqueue_pinned(struct task_struct *p, struct task *t,
					   struct agentcg_node *n, u64 enq_flags)
{
	s32 cpu = pinned_cpu(p);
	u64 share;

	if (!t->pinned) {
		t->pinned = 1;
		t->flat_vtime = bounded_vtime(n, t->slot);
	}
	share = reckon_flat_share(t, n);
	t->flat_vtime = bounded(t->flat_vtime,
				enq_flags & SCX_ENQ_WAKEUP ? settings.credit_ns : lag_of(share),
				settings.slice_ns, share);
	set_queued(t, n, OF_CPU);
	scx_bpf_dsq_insert_vtime(p, CPU_QUEUE + cpu, settings.slice_ns, t->flat_vtime, enq_flags);
	scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
}

void OP(enqueue)(agentcg_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task *t = task_of(p);
	struct agentcg_node *n = t ? node_at(t->slot) : NULL;
	struct claim claim;
	s32 cpu;

	if (!t || !n) {
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, settings.slice_ns, enq_flags);
		return;
	}
	if (delay(p, t, enq_flags))
		return;
	if (is_cpus_own(p) && (enq_flags & (SCX_ENQ_WAKEUP | SCX_ENQ_REENQ))) {
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, settings.slice_ns, enq_flags | SCX_ENQ_PREEMPT);
		return;
	}
	set_runnable(p, t);
	if (!t->ready_ns)
		t->ready_ns = now_ns();
	if (boost(p, t, n, enq_flags))
		return;
	if (p->nr_cpus_allowed == 1 && (enq_flags & SCX_ENQ_WAKEUP) &&
	    follow(p, t, n, scx_bpf_task_cpu(p), enq_flags))
		return;
	if (!unrestricted(p)) {
		enqueue_pinned(p, t, n, enq_flags);
		return;
	}
	t->pinned = 0;
	catch_up(t, n);
	set_queued(t, n, OF_CGROUP);
	scx_bpf_dsq_insert_vtime(p, NODE_QUEUE + t->slot, settings.slice_ns, t->vtime, enq_flags);
	claim = claim_of(n, t->slot);
	want_turn(t->slot, &claim);
	cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
	else if (enq_flags & SCX_ENQ_WAKEUP)
		preempt(p, t->slot, claim.vtime);
}

/* Called since Linux 7.1 when it leaves a queue, whoever takes it out; before, `running` is. */
void OP(dequeue)(agentcg_dequeue, struct task_struct *p, u64 deq_flags)
{
	struct task *t = task_of(p);

	if (t)
		set_dequeued(t);
}

void OP(dispatch)(agentcg_dispatch, s32 cpu, struct task_struct *prev)
{
	enum outcome outcome = NOTHING;
	struct others o = { .slot = AGENTCG_NO_SLOT };
	struct agentcg_node *n;
	struct cpu *c = cpu_at(cpu);
	struct task *t;
	u64 now;
	s32 i;

	if (!c)
		return;
	if (prev && (prev->scx.flags & SCX_TASK_QUEUED) && (t = task_of(prev)) &&
	    (n = node_at(t->slot)) && !has_to_wait(t)) { /* who has to is charged when it stops */
		now = now_ns();
		set_runnable(prev, t); /* a kernel thread that goes on competes from now on */
		throttle(prev, t, charge(t, n, c, now));
		c->urgent = !!(prev->flags & PF_KTHREAD); /* who is kept is not told to be running */
		o.rival = t->pinned ? claim_at(t->flat_vtime, t->flat_share) : claim_of(n, t->slot);
		o.task_vtime = t->vtime;
		o.slot = t->pinned ? AGENTCG_NO_SLOT : t->slot;
		o.is_rival = true;
		if (take_boost(t, n, c, now)) {
			set_slice(prev, settings.boost_ns);
			c->urgent = 1;
			return;
		}
	}
	o.is_pinned = first_pinned(cpu, &o.pinned);
	for_range(i, 0, PICK_TRIES) {
		outcome = pick_once(&o);
		if (outcome == NOTHING && pinned_is_first(&o))
			outcome = PINNED;
		if (outcome == PINNED) {
			if (scx_bpf_dsq_move_to_local(CPU_QUEUE + cpu))
				return;
			o.is_pinned = false; /* another CPU was faster */
		} else if (outcome != AGAIN) {
			break;
		}
	}
	if (outcome == MOVED)
		return;
	if (prev && o.is_rival)
		keep(prev, &o);
	else if (nr_pinned > 0 && !scx_bpf_dsq_move_to_local(CPU_QUEUE + cpu))
		steal();
}

void OP(running)(agentcg_running, struct task_struct *p)
{
	struct task *t = task_of(p);
	struct agentcg_node *n;
	struct cpu *c;
	u64 waited;

	if (!t || !(n = node_at(t->slot)))
		return;
	if (!is_cpus_own(p))
		set_runnable(p, t);
	set_dequeued(t);
	if (state.bandwidths)
		throttle(p, t, spend(t->slot, 0));
	t->share = n->share = share_of(t->slot);
	t->started_ns = now_ns();
	if (before(n->task_vtime, t->vtime))
		n->task_vtime = t->vtime;
	t->turn_ns = t->started_ns;
	t->waited_ns = 0;
	t->boosted = !!t->boost_ns;
	if (t->ready_ns) {
		waited = since(t->ready_ns, t->started_ns);
		t->ready_ns = 0;
		t->waited_ns = waited;
		if (t->delay_ns)
			t->delay_waited_ns += waited;
		n->wait_ns += waited;
		n->waits++;
		if (waited > n->longest_wait_ns)
			n->longest_wait_ns = waited;
	}
	c = cpu_at(scx_bpf_task_cpu(p));
	if (c) {
		c->vtime = n->vtime;
		c->started_ns = t->started_ns;
		c->slot = t->slot;
		c->urgent = t->boost_ns || (p->flags & PF_KTHREAD);
		c->busy = 1;
	}
}

void OP(stopping)(agentcg_stopping, struct task_struct *p, bool runnable)
{
	struct task *t = task_of(p);
	struct cpu *c = cpu_at(scx_bpf_task_cpu(p));
	struct agentcg_node *n;

	if (!c)
		return;
	c->busy = 0;
	if (!t)
		return;
	if (t->delay_until_ns)
		t->delayed_ns = bpf_ktime_get_ns();
	if ((n = node_at(t->slot)))
		charge(t, n, c, now_ns());
	if (traced)
		trace(p, t, since(t->turn_ns, t->started_ns), 0);
	if (!runnable)
		set_quiescent(t);
}

/* It is in another class from now on. */
void OP(disable)(agentcg_disable, struct task_struct *p)
{
	struct task *t = task_of(p);

	if (t)
		set_quiescent(t);
}

void OP(set_weight)(agentcg_set_weight, struct task_struct *p, u32 weight)
{
	struct task *t = task_of(p);
	struct agentcg_node *n;
	u32 was;

	if (!t || !(was = t->weight) || !(n = node_at(t->slot)))
		return;
	if (__sync_val_compare_and_swap(&t->weight, was, weight) == was)
		__sync_fetch_and_add(&n->own_weight, (s64)weight - was);
}

s32 SLEEPABLE_OP(init)(agentcg_init)
{
	const struct cpumask *online = scx_bpf_get_online_cpumask();
	s32 cpu, error, nr = scx_bpf_nr_cpu_ids();

	/* Has clang describe types that only prototypes of kernel functions name. */
	if (!bpf_core_type_exists(struct cpumask) || !bpf_core_type_exists(struct bpf_map))
		nr = 0;
	nr_online = bpf_cpumask_weight(online);
	scx_bpf_put_cpumask(online);
	if (nr > MAX_CPUS)
		return -7; /* E2BIG */
	for_range(cpu, 0, nr) {
		error = scx_bpf_create_dsq(CPU_QUEUE + cpu, -1);
		if (error)
			return error;
	}
	return init_delay();
}

void OP(exit)(agentcg_exit, struct scx_exit_info *info)
{
	bpf_probe_read_kernel_str(state.exit_reason, sizeof(state.exit_reason), info->reason);
	bpf_probe_read_kernel_str(state.exit_message, sizeof(state.exit_message), info->msg);
	state.exit_code = info->exit_code;
	state.exit_kind = info->kind;
}

SEC(".struct_ops.link")
struct sched_ext_ops agentcg_ops = {
	.select_cpu = (void *)agentcg_select_cpu,
	.enqueue = (void *)agentcg_enqueue,
	.dequeue = (void *)agentcg_dequeue,
	.dispatch = (void *)agentcg_dispatch,
	.running = (void *)agentcg_running,
	.stopping = (void *)agentcg_stopping,
	.disable = (void *)agentcg_disable,
	.set_weight = (void *)agentcg_set_weight,
	.init_task = (void *)agentcg_init_task,
	.exit_task = (void *)agentcg_exit_task,
	.cgroup_init = (void *)agentcg_cgroup_init,
	.cgroup_exit = (void *)agentcg_cgroup_exit,
	.cgroup_move = (void *)agentcg_cgroup_move,
	.cgroup_set_weight = (void *)agentcg_cgroup_set_weight,
	.cgroup_set_bandwidth = (void *)agentcg_cgroup_set_bandwidth,
	.cgroup_set_idle = (void *)agentcg_cgroup_set_idle,
	.init = (void *)agentcg_init,
	.exit = (void *)agentcg_exit,
	.flags = SCX_OPS_ENQ_LAST | SCX_OPS_ENQ_MIGRATION_DISABLED,
	.timeout_ms = 20000,
	.name = "agentcg",
};
