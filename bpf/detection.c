// SPDX-License-Identifier: GPL-2.0-only
/*
 * Detection of tool calls: what an agent starts, from the kernel's side.
 *
 * Problem
 * -------
 * An agent that knows nothing of agentcg starts a shell for each tool call, and 33% of them end
 * within 0.1 s. Whoever wants to tell calls from hooks and helpers needs the command line, a few
 * variables of the environment and the ancestry of each process at the moment it executes, and
 * after its parent has gone: a daemon that was forked twice, or a tmux server, has pid 1 as its
 * parent. This program reports births, executions and ends of processes in *watched* cgroups (the
 * runtime leaves of sessions); deciding what they are is user space's work.
 *
 * Worked example
 * --------------
 * watched[811] = 0 (a runtime leaf), variables["CODEX_TO"] = 1. The agent (pid 70) runs a shell:
 *
 *	sched_wakeup_new     origins[71] = {70}       news <- {BORN, 71, parent 70}
 *	sched_process_exec   news <- {RAN, 71, parent 70, sid 71, "bash\0-c\0make", "CODEX_TOOL_CALL_ID=..."}
 *
 * User space moves 71 to a leaf of its own, which is not watched: what it forks from then on is
 * born there and costs nothing here. Its end is in the accounts of that leaf (accounting.c).
 *
 * Of an execution it is told at once if that may begin a call: by its name (`at_once`), by a
 * variable, or because any may (watched[811] = 1). The others wait in the ring (once.h): an
 * interrupt and a wake-up for each would cost twice as much as all that is done here.
 *
 * Limits
 * ------
 * - `origins` keeps who forked whom for the ORIGINS processes seen last in watched cgroups; for
 *   one that was evicted the record has the parent of the moment.
 * - Only variables whose first eight bytes are in `variables` are read, the first four of them, cut
 *   at 127 bytes, out of the first PIECES pieces of 127 bytes of the environment.
 * - Command lines and environments belong to the process: it may have written them to deceive.
 *   The cgroup and the uid are the kernel's word.
 * - When the ring is full records are dropped and counted in `news_lost`.
 * - Names to look for outside of watched cgroups are told apart by their first eight bytes.
 * - setsid and setpgid have no tracepoint that costs nobody else anything (those of system calls
 *   slow down every call of every process); their effect, pgid and sid, is in each record.
 */
#include "once.h"
#include "sights.h"

#define PIECES 160
#define PIDTYPE_PGID 2  /* include/linux/pid_types.h */
#define PIDTYPE_SID 3
#define SIGNAL_GROUP_EXIT 4

struct origin {
	u64 start_ns;
	u64 parent_start_ns;
	u64 parent;
};

BPF_F_TABLE("hash", u64, u32, watched, WATCHED, BPF_F_NO_PREALLOC);
BPF_TABLE("hash", u64, u32, names, 64);  /* what to report outside: first bytes of `comm` */
BPF_TABLE("hash", u64, u32, at_once, 64);  /* what may begin a call, likewise: told at once */
BPF_TABLE("hash", u64, u32, variables, 64);
BPF_TABLE("lru_hash", u32, struct origin, origins, ORIGINS);
BPF_ARRAY(news_lost, u64, 1);
BPF_CGROUP_ARRAY(detection_scope, 1);  /* root of all sessions */
BPF_RINGBUF_OUTPUT(news, NEWS_PAGES);

/* Never used: a ring has no types, this puts those of its records into the object's BTF. */
BPF_ARRAY(sight_types, struct agentcg_sight_ran, 1);

static inline bool in_sessions(void)
{
	return detection_scope.check_current_task(0) != 0;
}

static inline void note_lost(void)
{
	u32 zero = 0;
	u64 *total = news_lost.lookup(&zero);

	if (total)
		__sync_fetch_and_add(total, 1);
}

/* Number, in the initial pid namespace, of the process group or session of `task`. */
static inline u32 number_of(void *task, u32 kind)
{
	void *signal = READ(void *, task, OFF_TASK_SIGNAL);
	void *pid = READ(void *, signal, OFF_SIGNAL_PIDS + kind * sizeof(void *));

	return READ(u32, pid, OFF_PID_NUMBERS);
}

static inline void fill(struct agentcg_sight *sight, void *task, u64 cgroup, u32 kind)
{
	u32 pid = READ(u32, task, OFF_TASK_TGID);
	struct origin *origin = origins.lookup(&pid);
	void *parent;

	sight->cgroup_id = cgroup;
	sight->time_ns = bpf_ktime_get_boot_ns();
	sight->start_ns = start_of(task);
	sight->kind = kind;
	sight->watched = 1;
	sight->pid = pid;
	if (origin && origin->start_ns == sight->start_ns) {
		sight->parent = origin->parent;
		sight->parent_start_ns = origin->parent_start_ns;
	} else {
		parent = READ(void *, task, OFF_TASK_REAL_PARENT);
		sight->parent = READ(u32, parent, OFF_TASK_TGID);
		sight->parent_start_ns = start_of(parent);
	}
	sight->pgid = number_of(task, PIDTYPE_PGID);
	sight->sid = number_of(task, PIDTYPE_SID);
	sight->uid = READ(u32, READ(void *, task, OFF_TASK_CRED), OFF_CRED_UID);
	sight->exit_code = 0;
	sight->argv_bytes = 0;
	sight->variables = 0;
	bpf_probe_read_kernel(sight->comm, sizeof(sight->comm), (char *)task + OFF_TASK_COMM);
}

/* sched_wakeup_new(child): every new task, under the lock of its run queue, before it runs. */
int on_born(struct bpf_raw_tracepoint_args *ctx)
{
	void *child = (void *)ctx->args[0];
	void *parent = (void *)bpf_get_current_task();
	struct agentcg_sight *sight;
	struct origin origin = {};
	u32 pid;
	u64 id;

	/* clone3(CLONE_INTO_CGROUP) can put the child of any task into a watched cgroup. */
	if (!in_sessions() &&
	    READ(void *, child, OFF_TASK_CGROUPS) == READ(void *, parent, OFF_TASK_CGROUPS))
		return 0;
	id = cgroup_id(cgroup_of(child));
	pid = READ(u32, child, OFF_TASK_TGID);
	if (!watched.lookup(&id) || READ(u32, child, OFF_TASK_PID) != pid)
		return 0;
	origin.start_ns = start_of(child);
	origin.parent = bpf_get_current_pid_tgid() >> 32;
	origin.parent_start_ns = start_of(parent);
	origins.update(&pid, &origin);
	sight = news.ringbuf_reserve(sizeof(*sight));
	if (!sight) {
		note_lost();
		return 0;
	}
	fill(sight, child, id, AGENTCG_BORN);
	news.ringbuf_submit(sight, when_to_tell(false));
	return 0;
}

/* The watched ones among the variables from `at` to `end`, into the record. */
static inline void read_environment(struct agentcg_sight_ran *record, u64 at, u64 end)
{
	bool continued = false;
	u32 found = 0;

#pragma clang loop unroll(disable)
	for (int piece = 0; piece < PIECES; piece++) {
		char *slot;
		u64 head;
		long size;

		if (found >= SIGHT_VARIABLES || at >= end)
			break;
		slot = record->environment[found];
		size = bpf_probe_read_user_str(slot, SIGHT_VARIABLE_BYTES, (void *)at);
		if (size <= 0)
			break;
		head = *(u64 *)slot;
		if (!continued && size > sizeof(head) && variables.lookup(&head))
			found++;
		continued = size == SIGHT_VARIABLE_BYTES;
		at += continued ? SIGHT_VARIABLE_BYTES - 1 : size;
	}
	record->sight.variables = found;
	if (found < SIGHT_VARIABLES)  /* what was looked at last is nobody's business */
		__builtin_memset(record->environment[found], 0, SIGHT_VARIABLE_BYTES);
}

static inline int note_ran(void *task)
{
	struct agentcg_sight_ran *record;
	u64 id, name, start, bytes;
	bool urgent, failed;
	u32 *each;
	void *mm;

	id = cgroup_id(cgroup_of(task));
	name = READ(u64, task, OFF_TASK_COMM);
	each = in_sessions() ? watched.lookup(&id) : NULL;
	if (!each && (in_sessions() || !names.lookup(&name)))
		return 0;
	urgent = !each || *each || at_once.lookup(&name);
	if (!first_to_see_exec(task))
		return 0;
	record = news.ringbuf_reserve(sizeof(*record));
	if (!record) {
		note_lost();
		return 0;
	}
	fill(&record->sight, task, id, AGENTCG_RAN);
	record->sight.watched = each != NULL;
	mm = READ(void *, task, OFF_TASK_MM);
	start = READ(u64, mm, OFF_MM_ARG_START);
	bytes = READ(u64, mm, OFF_MM_ARG_END) - start;
	record->sight.argv_bytes = bytes;
	if (bytes <= SIGHT_ARGV_BYTES)
		failed = bpf_probe_read_user(record->argv, bytes, (void *)start);
	else
		failed = bpf_probe_read_user(record->argv, SIGHT_HEAD_BYTES, (void *)start) ||
			 bpf_probe_read_user(record->argv + SIGHT_HEAD_BYTES, SIGHT_TAIL_BYTES,
					     (void *)(start + bytes - SIGHT_TAIL_BYTES));
	if (failed)
		record->sight.argv_bytes = 0;
	read_environment(record, READ(u64, mm, OFF_MM_ENV_START), READ(u64, mm, OFF_MM_ENV_END));
	urgent = urgent || record->sight.variables;
	news.ringbuf_submit(record, when_to_tell(urgent));
	return 0;
}

/* sched_process_exec(task, old_pid, bprm): after the new program was mapped. */
int on_ran(struct bpf_raw_tracepoint_args *ctx)
{
	return note_ran((void *)ctx->args[0]);
}

static inline int note_gone(void *task)
{
	void *signal = READ(void *, task, OFF_TASK_SIGNAL);
	void *leader = READ(void *, task, OFF_TASK_GROUP_LEADER);
	struct agentcg_sight *sight;
	u64 id;
	u32 pid;

	if (!in_sessions())
		return 0;
	id = cgroup_id(cgroup_of(task));
	if (!watched.lookup(&id) || !first_to_see_process_end(task))
		return 0;
	sight = news.ringbuf_reserve(sizeof(*sight));
	if (!sight) {
		note_lost();
		return 0;
	}
	fill(sight, task, id, AGENTCG_GONE);
	/* As wait(2) reports it: kernel/exit.c, wait_task_zombie(). */
	if (READ(u32, signal, OFF_SIGNAL_FLAGS) & SIGNAL_GROUP_EXIT)
		sight->exit_code = READ(u32, signal, OFF_SIGNAL_GROUP_EXIT_CODE);
	else
		sight->exit_code = READ(u32, leader, OFF_TASK_EXIT_CODE);
	pid = sight->pid;
	news.ringbuf_submit(sight, when_to_tell(false));
	origins.delete(&pid);
	return 0;
}

/* sched_process_exit(task, ...): in the task, still in its cgroup. */
int on_gone(struct bpf_raw_tracepoint_args *ctx)
{
	return note_gone((void *)ctx->args[0]);
}
