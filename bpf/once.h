/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Each event once, however many programs see it. Since 7.0 tracepoints may be preempted, and the
 * kernel does not run a program on a CPU where a preempted task is inside of it: so there execs and
 * exits are traced by several programs, of which the first to see an event takes it. Before, one
 * program sees each (compile.py), and hardly anything has to be remembered.
 */
#ifndef AGENTCG_ONCE_H
#define AGENTCG_ONCE_H

#include "task.h"

/* One end or one exec of one process, or one end of a thread; unique until the machine reboots. */
struct sighting {
	u64 pid;
	u64 start_ns;
	u64 serial;  /* task_struct.self_exec_id, which grows with each exec, or one of these: */
};

#define PROCESS_END (~0ULL)
#define THREAD_END (~1ULL)

BPF_TABLE("lru_hash", struct sighting, u8, seen, 4096);

static inline bool is_first(u64 pid, u64 start_ns, u64 serial)
{
	struct sighting sighting = { .pid = pid, .start_ns = start_ns, .serial = serial };
	u8 one = 1;

	/* Looking is cheaper than failing to insert. */
	return !seen.lookup(&sighting) && seen.insert(&sighting, &one) == 0;
}

/* Whether this is the first program to see what `task` executes. */
static inline bool first_to_see_exec(void *task)
{
#ifdef TRACEPOINTS_PREEMPTIBLE
	return is_first(READ(u32, task, OFF_TASK_TGID), start_of(task),
			READ(u64, task, OFF_TASK_SELF_EXEC_ID));
#else
	return true;
#endif
}

/* Whether this is the first program to see the end of the thread `task`. */
static inline bool first_to_see_thread_end(void *task)
{
#ifdef TRACEPOINTS_PREEMPTIBLE
	return is_first(READ(u32, task, OFF_TASK_PID), READ(u64, task, OFF_TASK_START_BOOTTIME),
			THREAD_END);
#else
	return true;
#endif
}

/*
 * Whether `task` ends its process, and this is the first program to see it. A main thread may end
 * before others: the one that leaves none alive ends the process, and two can find that they do.
 */
static inline bool first_to_see_process_end(void *task)
{
	void *signal = READ(void *, task, OFF_TASK_SIGNAL);

	if (READ(u32, signal, OFF_SIGNAL_LIVE))
		return false;
	return is_first(READ(u32, task, OFF_TASK_TGID), start_of(task), PROCESS_END);
}

/*
 * Telling user space costs more than all else here: an interrupt and a wake-up, 12-19 us in a virtual
 * machine. So only what is urgent is told at once; of the rest every LAZY_EVENTS-th record, and
 * whoever reads asks once a second and when it needs to know.
 */
#define LAZY_EVENTS 256

BPF_ARRAY(untold, u64, 1);

static inline u64 when_to_tell(bool urgent)
{
	u32 zero = 0;
	u64 *count = untold.lookup(&zero);

	/* Forced: a reader that has not caught up with lazy records would not be told otherwise. */
	if (urgent || !count || __sync_fetch_and_add(count, 1) % LAZY_EVENTS == LAZY_EVENTS - 1)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

#endif
