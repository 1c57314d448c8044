/* SPDX-License-Identifier: GPL-2.0-only */
/* What the scheduler and the daemon share. Plain integers; scheduler_records.py mirrors this. */
#ifndef AGENTCG_SCHEDULER_H
#define AGENTCG_SCHEDULER_H

#define AGENTCG_ROOT_SLOT 0
#define AGENTCG_NO_SLOT 0xffffffffU
#define NSEC_PER_USEC 1000ULL
#define NSEC_PER_MSEC 1000000ULL

/* A cgroup, as the scheduler keeps it. Times are in ns. */
struct agentcg_node {
	__u64 cgroup_id; /* 0: the slot is free */
	__u32 parent;    /* slot; AGENTCG_NO_SLOT for the root */
	__u32 weight;    /* cpu.weight, 1 to 10000 */
	__u32 idle;      /* cpu.idle */
	__u16 level;
	__u16 bandwidth; /* cpu.max is set */
	__u64 vtime;       /* CPU time that it has had, divided by its share of the machine */
	__u64 share;       /* the share that it had when that was last reckoned */
	__u64 task_vtime;  /* the same for its tasks among each other */
	__s64 refs;        /* the cgroup's own, and one for each task */
	__s64 active;      /* tasks of its own that want to run and have since they woke, and children */
	__u64 counted;     /* its weight within child_weight of the parent; 0: not active */
	__s64 own_weight;  /* sum over runnable tasks of its own */
	__s64 child_weight; /* sum over active children */
	__s64 queued;      /* tasks that wait in its queue */
	__u64 run_ns;
	__u64 wait_ns;
	__u64 waits;
	__u64 longest_wait_ns;
	__s64 boost_ns;      /* what is left of its boosts */
	__u64 boosted_at_ns; /* when it last got some */
	__u64 boosts;
};

/* Counts since the scheduler was loaded, and how it ended. One variable, a section of its own. */
struct agentcg_sched_state {
	__u64 mean;      /* of the virtual times of all active cgroups */
	__u64 vnow;      /* virtual time of the machine: the most that the mean was */
	__u64 nodes;     /* cgroups that have a slot */
	__u64 overflows; /* cgroups that share their parent's, for want of slots */
	__u64 picks;     /* tasks taken from a cgroup's queue */
	__u64 empty_picks; /* turns of cgroups that had nothing for this CPU */
	__u64 kept;      /* times that a task went on, because its cgroup was first again */
	__u64 preempted; /* times that a waking task took a CPU */
	__u64 stolen;    /* tasks taken from another CPU's queue */
	__u64 bandwidths; /* cgroups with cpu.max */
	__u64 delayed;   /* times that a task was sent to the delay queue */
	__u64 delays_refused; /* for want of memory */
	__u64 events_lost; /* a ring buffer was full */
	__u64 evicted;   /* times that tasks had to leave a CPU that a real-time task took */
	__u64 exit_kind; /* enum scx_exit_kind; 0: it runs */
	__s64 exit_code;
	char exit_reason[128];
	char exit_message[256];
};

/* Settled when the programs are loaded. */
struct agentcg_sched_settings {
	__u64 slice_ns;
	__u64 credit_ns; /* CPU time that a cgroup which slept may have left of its share */
	__u64 lag_ns;    /* ... and one may fall that always wanted to run */
	__u64 patience_ns; /* the longest that a cgroup waits for its turn, on a busy machine */
	__u64 sweep_ns;  /* how often delayed tasks are looked at before they are due */
	__u64 boost_ns;     /* a boost */
	__u64 stretch_ns;   /* boosts of a new cgroup in all */
	__u64 favour_ns;    /* ... of a favoured one in each window */
	__u64 cpu_boost_ns; /* ... on one CPU in each window */
	__u64 window_ns;
};

/* Whose tasks the scheduler takes. */
struct agentcg_agents_settings {
	__u64 root_id; /* cgroup of all sessions; 0: the tasks of the whole host */
};

/* The same, of what delays and protects. */
struct agentcg_budget_settings {
	__u64 page_bytes;
	__u64 expiry_ns; /* budgets hold for so long after the daemon's last heartbeat */
};

/* What the daemon says all the time. One variable, a section of its own. */
struct agentcg_sched_control {
	__u64 heartbeat_ns; /* CLOCK_MONOTONIC */
	__u64 budgets;      /* how many there are: with none, charges cost next to nothing */
	__u64 protections;  /* the same */
};

/* The memory budget of a cgroup, by its id. */
struct agentcg_budget {
	__u64 soft_bytes; /* above this, who charges waits; 0: no budget */
	__u64 hard_bytes; /* here the delay is longest; not above soft: always the longest */
	__u64 max_delay_ns; /* at most 2 s */
	__u32 priority; /* 0 low, 1 normal (a quarter of the delay), 2 high (a sixteenth) */
	__u32 owed_ns; /* delays that were too short for the kernel's own interface */
};

/* What the kernel is to leave to a cgroup, by its id. */
struct agentcg_protection {
	__u64 low_bytes; /* as memory.low: unless there is nothing else to reclaim */
	__u64 min_bytes; /* as memory.min: whatever happens */
};

/* What a budget led to. */
struct agentcg_delays {
	__u64 count;
	__u64 total_ns;
	__u64 longest_ns;
	__u64 overshoot_bytes; /* the largest */
	__u64 trace; /* set by user space: one event for each delay */
};

/* One delay, when it is over. Times are of CLOCK_MONOTONIC. */
struct agentcg_delay_event {
	__u64 cgroup_id; /* whose budget it was */
	__u32 pid;       /* thread */
	__u32 pad;
	__u64 noticed_ns; /* the charge that exceeded the budget */
	__u64 waited_ns;  /* from then on, for a CPU: others had theirs before it could stop */
	__u64 stopped_ns; /* off the CPU */
	__u64 until_ns;   /* to be released */
	__u64 released_ns;
	__u64 over_bytes; /* then */
};

/* A turn of a task of the traced session, or a delay, when it is over. */
struct agentcg_turn_event {
	__u64 cgroup_id; /* the session's, or the one directly below it that the task is in */
	__u32 pid;       /* thread */
	__u32 cpu;
	__u64 ended_ns;   /* CLOCK_MONOTONIC */
	__u64 waited_ns;  /* for the CPU */
	__u64 ran_ns;     /* 0: a delay */
	__u64 delayed_ns; /* 0: a turn */
	__u32 boosted;
	__u32 pad;
	char comm[16];
};

#endif
