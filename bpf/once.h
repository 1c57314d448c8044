/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Each event once, however many programs see it. Since 7.0 tracepoints may be preempted, and the
 * kernel does not run a program on a CPU where a preempted task is inside of it: so execs and
 * exits are traced by several programs, of which the first to see an event takes it.
 */
#ifndef AGENTCG_ONCE_H
#define AGENTCG_ONCE_H

#include "task.h"

/* One end or one exec of one process; unique until the machine reboots. */
struct sighting {
	u64 pid;
	u64 start_ns;
	u64 serial;  /* task_struct.self_exec_id, which grows with each exec; END: the end */
};

#define END (~0ULL)

BPF_TABLE("lru_hash", struct sighting, u8, seen, 4096);

/* Whether this is the first program to see it; two last threads can both find that they end
 * their process. */
static inline bool first_to_see(void *task, u64 serial)
{
	struct sighting sighting = {
		.pid = READ(u32, task, OFF_TASK_TGID),
		.start_ns = start_of(task),
		.serial = serial,
	};
	u8 one = 1;

	return seen.insert(&sighting, &one) == 0;
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
