// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accounting of tool calls: which processes ran in a cgroup, what they executed, how they ended.
 *
 * Problem
 * -------
 * Files of a cgroup tell what it used (CPU, memory, I/O), not what ran in it: a call that takes
 * ten milliseconds is over before anybody could read /proc, and nothing keeps the exit status of
 * a process that is not one's child. The kernel's tracepoints pass every process by; this program
 * counts those that are in a *tracked* leaf; tasks outside of `scope` cost one comparison.
 *
 * Worked example
 * --------------
 * The daemon creates the leaf call-7 (cgroup id 4711) and inserts accounts[4711] = {0}. A client
 * places `sh -c 'make | tee log'` into it:
 *
 *	cgroup_attach_task   sh       placed = 1, first_pid = sh
 *	sched_process_exec   sh       execs = 1, ring <- {EXEC, "sh\0-c\0make | tee log"}
 *	sched_wakeup_new     sh x 2   forks = 2
 *	sched_process_exec   make     execs = 2, ring <- {EXEC, "make"}     ... and so on for tee
 *	sched_process_exit   make     exits = 1
 *	sched_process_exit   sh       exits = 3, first_exited = 1, ring <- {EXIT, status}
 *
 * When call-7 ends, the daemon takes accounts[4711] out of the map with its last values.
 *
 * Limits
 * ------
 * - Cgroups below a leaf count to it down to DEPTH levels; what is deeper is not seen.
 * - The map holds ACCOUNTS leaves. When it is full the daemon's insert fails; nothing is evicted.
 * - The ring holds RING_PAGES pages. When it is full, events are dropped and counted (in the
 *   account and in `lost`); counters stay exact.
 * - Of a leaf the ring gets the first COMMANDS_KEPT execs and the end of its first process: who
 *   executes thousands of programs pays for counting them, and the daemon nothing.
 * - Command lines are cut at ARGV_BYTES and may be rewritten by their process before anyone
 *   checks them: they inform, they decide nothing.
 * - Since 7.0 tracepoints may be preempted, and the kernel does not run a program on a CPU where
 *   a preempted task is inside of it. Forks, placements and OOM kills are traced where no
 *   preemption is possible. Execs and exits are traced by three programs each, of which the
 *   first to see an event counts it: it takes three preemptions inside of programs of about one
 *   microsecond, on one CPU and at once, to lose one.
 * - mark_victim also passes tasks that were dying anyway when memory ran out; memory.events has
 *   the count of real kills.
 *
 * Compiled by bcc without kernel headers: the offsets OFF_* of the few kernel fields that are
 * read come from the running kernel's BTF (btf.py), tunables from tunables.py.
 */
#include "records.h"
#include "once.h"
#include "task.h"

#define UNKNOWN (~0ULL)

BPF_F_TABLE("hash", u64, struct agentcg_account, accounts, ACCOUNTS, BPF_F_NO_PREALLOC);
BPF_ARRAY(lost, u64, 1);
BPF_CGROUP_ARRAY(scope, 1);  /* only tasks below this cgroup matter; empty: all do */
BPF_ARRAY(scope_level, u32, 1);  /* how deep that is, at least: no leaf is there or above */
BPF_RINGBUF_OUTPUT(events, RING_PAGES);

/* Never used: a ring has no types, this puts those of its records into the object's BTF. */
BPF_ARRAY(record_types, struct agentcg_exec, 1);

#define SIGNAL_GROUP_EXIT 4

struct leaf {
	u64 id;
	u32 depth;  /* levels from the leaf down to the cgroup of the task */
	void *cgroup;
	struct agentcg_account *account;
};

/* Finds the tracked leaf of `task`: its cgroup or the nearest tracked one above it. */
static inline bool find_leaf(void *task, struct leaf *leaf)
{
	void *cgroup = cgroup_of(task);
	u32 zero = 0, *top = scope_level.lookup(&zero);

	if (!top)
		return false;
#pragma unroll
	for (u32 depth = 0; depth <= DEPTH; depth++) {
		u64 id = cgroup_id(cgroup);
		struct agentcg_account *account = accounts.lookup(&id);

		if (account) {
			leaf->id = id;
			leaf->depth = depth;
			leaf->cgroup = cgroup;
			leaf->account = account;
			return true;
		}
		/* css.parent of the cgroup's own state, which is its first member. */
		cgroup = READ(void *, cgroup, OFF_CGROUP_SELF_PARENT);
		if (!cgroup || READ(u32, cgroup, OFF_CGROUP_LEVEL) <= *top)
			return false;
	}
	return false;
}

/* Whether the running task may be tracked; also true (negative) where no scope is set. */
static inline bool in_scope(void)
{
	return scope.check_current_task(0) != 0;
}

static inline void add(u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

static inline void note_lost(struct leaf *leaf)
{
	u32 zero = 0;
	u64 *total = lost.lookup(&zero);

	add(&leaf->account->lost);
	if (total)
		add(total);
}

/* Two processes that enter at the same instant may race for first place; either is right. */
static inline void note_first(struct leaf *leaf, u32 pid)
{
	if (!leaf->account->first_pid)
		leaf->account->first_pid = pid;
}

static inline void fill(struct agentcg_event *event, struct leaf *leaf, u32 kind, void *task)
{
	event->cgroup_id = leaf->id;
	event->time_ns = bpf_ktime_get_boot_ns();
	event->kind = kind;
	event->pid = READ(u32, task, OFF_TASK_TGID);
	event->exit_code = 0;
	event->argv_bytes = 0;
	bpf_probe_read_kernel(event->comm, sizeof(event->comm), (char *)task + OFF_TASK_COMM);
}

/* sched_wakeup_new(child): every new task, under the lock of its run queue, before it runs. */
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	void *child = (void *)ctx->args[0];
	void *parent = (void *)bpf_get_current_task();
	struct leaf leaf, parents;
	u32 pid;

	/* clone3(CLONE_INTO_CGROUP) can put the child of any task into a leaf. */
	if (!in_scope() &&
	    READ(void *, child, OFF_TASK_CGROUPS) == READ(void *, parent, OFF_TASK_CGROUPS))
		return 0;
	if (!find_leaf(child, &leaf))
		return 0;
	pid = READ(u32, child, OFF_TASK_TGID);
	if (READ(u32, child, OFF_TASK_PID) != pid) {
		add(&leaf.account->threads);
		return 0;
	}
	add(&leaf.account->forks);
	if (leaf.account->first_pid)
		return 0;
	if (find_leaf(parent, &parents) && parents.id == leaf.id)
		pid = bpf_get_current_pid_tgid() >> 32;
	note_first(&leaf, pid);
	return 0;
}

/* cgroup_attach_task(cgroup, path, task, threadgroup): after a move, under cgroup_mutex. */
int on_placed(struct bpf_raw_tracepoint_args *ctx)
{
	void *cgroup = (void *)ctx->args[0], *task = (void *)ctx->args[2];
	bool whole_process = ctx->args[3];
	struct leaf leaf;

	/* Ids of cgroup v1 hierarchies overlap with ours: only a move in the v2 tree counts. */
	if (!whole_process || cgroup_of(task) != cgroup)
		return 0;
	/* Depth above 0: most likely a move from the leaf to a cgroup below it. */
	if (!find_leaf(task, &leaf) || leaf.depth)
		return 0;
	add(&leaf.account->placed);
	note_first(&leaf, READ(u32, task, OFF_TASK_TGID));
	return 0;
}

static inline int note_exec(void *task)
{
	struct agentcg_exec *record;
	u64 start, bytes;
	struct leaf leaf;
	void *mm;

	if (!in_scope() || !find_leaf(task, &leaf) || !first_to_see_exec(task))
		return 0;
	note_first(&leaf, bpf_get_current_pid_tgid() >> 32);
	if (__sync_fetch_and_add(&leaf.account->execs, 1) >= COMMANDS_KEPT)
		return 0;
	record = events.ringbuf_reserve(sizeof(*record));
	if (!record) {
		note_lost(&leaf);
		return 0;
	}
	fill(&record->event, &leaf, AGENTCG_EXEC, task);
	mm = READ(void *, task, OFF_TASK_MM);
	start = READ(u64, mm, OFF_MM_ARG_START);
	bytes = READ(u64, mm, OFF_MM_ARG_END) - start;
	record->event.argv_bytes = bytes;
	if (bytes > ARGV_BYTES)
		bytes = ARGV_BYTES;
	if (bpf_probe_read_user(record->argv, bytes, (void *)start))
		record->event.argv_bytes = 0;
	events.ringbuf_submit(record, when_to_tell(false));
	return 0;
}

/* sched_process_exec(task, old_pid, bprm): after the new program was mapped. */
int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	return note_exec((void *)ctx->args[0]);
}

/* What a thread that ends has waited. */
static inline void note_waits(struct leaf *leaf, void *task)
{
#ifdef OFF_TASK_RUN_DELAY
	if (first_to_see_thread_end(task))
		__sync_fetch_and_add(&leaf->account->run_delay_ns,
				     READ(u64, task, OFF_TASK_RUN_DELAY));
#else
	leaf->account->run_delay_ns = UNKNOWN;
#endif
}

static inline int note_exit(void *task)
{
	struct agentcg_event *record;
	void *signal, *leader;
	struct leaf leaf;
	u32 pid, code;

	if (!in_scope() || !find_leaf(task, &leaf))
		return 0;
	note_waits(&leaf, task);
	if (!first_to_see_process_end(task))
		return 0;
	pid = READ(u32, task, OFF_TASK_TGID);
	add(&leaf.account->exits);
	note_first(&leaf, pid);
	if (leaf.account->first_pid != pid || leaf.account->first_exited)
		return 0;
	signal = READ(void *, task, OFF_TASK_SIGNAL);
	leader = READ(void *, task, OFF_TASK_GROUP_LEADER);
	/* As wait(2) reports it: kernel/exit.c, wait_task_zombie(). */
	if (READ(u32, signal, OFF_SIGNAL_FLAGS) & SIGNAL_GROUP_EXIT)
		code = READ(u32, signal, OFF_SIGNAL_GROUP_EXIT_CODE);
	else
		code = READ(u32, leader, OFF_TASK_EXIT_CODE);

	leaf.account->first_exit_code = code;
	leaf.account->first_exited = 1;
	record = events.ringbuf_reserve(sizeof(*record));
	if (!record) {
		note_lost(&leaf);
		return 0;
	}
	fill(record, &leaf, AGENTCG_EXIT, task);
	record->exit_code = code;
	events.ringbuf_submit(record, when_to_tell(true));  /* with it the call may be over */
	return 0;
}

/* sched_process_exit(task, ...): in the task, still in its cgroup. */
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	return note_exit((void *)ctx->args[0]);
}

#ifdef MARK_VICTIM_HAS_TASK /* since 6.9; before, the tracepoint passes a bare pid */
/* mark_victim(task, uid): under oom_lock. */
int on_victim(struct bpf_raw_tracepoint_args *ctx)
{
	void *task = (void *)ctx->args[0];
	struct agentcg_event *record;
	struct leaf leaf;

	/* The victim's leaf: the task that ran out of memory may be another one. */
	if (!find_leaf(task, &leaf))
		return 0;
	add(&leaf.account->oom_kills);
	if (!leaf.account->victim_pid) {
		leaf.account->victim_pid = READ(u32, task, OFF_TASK_TGID);
		bpf_probe_read_kernel(leaf.account->victim_comm, AGENTCG_COMM_BYTES,
				      (char *)task + OFF_TASK_COMM);
	}
	record = events.ringbuf_reserve(sizeof(*record));
	if (!record) {
		note_lost(&leaf);
		return 0;
	}
	fill(record, &leaf, AGENTCG_OOM, task);
	events.ringbuf_submit(record, when_to_tell(true));
	return 0;
}
#endif

#include "sampling.c"
