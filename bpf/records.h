/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Records that cross from the kernel to user space: plain integers of fixed width, natural
 * alignment, no holes. agentcg/bpf/records.py mirrors them; tests compare the mirror with the
 * BTF of the loaded program, so that the two cannot drift apart.
 */
#ifndef AGENTCG_RECORDS_H
#define AGENTCG_RECORDS_H

#define AGENTCG_COMM_BYTES 16

/* Most bytes of a command line that one record carries; what is longer is cut. */
#ifndef ARGV_BYTES
#define ARGV_BYTES 256
#endif

/* Execs of a leaf that are told one by one, the first; all are counted. */
#define COMMANDS_KEPT 16

enum agentcg_kind {
	AGENTCG_EXEC = 1,
	AGENTCG_EXIT = 2,  /* of the first process */
	AGENTCG_OOM = 3,
};

/* Value of the map `accounts`; its key is the cgroup id (64 bits) of a tracked leaf. */
struct agentcg_account {
	unsigned long long forks;      /* processes born in the leaf */
	unsigned long long threads;    /* threads born in the leaf, not counting first ones */
	unsigned long long placed;     /* processes moved into the leaf after their birth */
	unsigned long long execs;      /* programs executed */
	unsigned long long exits;      /* processes (not threads) that ended */
	unsigned long long oom_kills;  /* processes marked as victims by the OOM killer */
	unsigned long long lost;       /* events of this leaf that found the ring full */
	unsigned long long run_delay_ns;    /* threads that ended: waited on a run queue */
	unsigned long long sent_bytes;      /* through sockets of the internet families */
	unsigned long long received_bytes;
	unsigned long long connections;     /* TCP connections that it began */
	unsigned int first_pid;        /* the first process seen in the leaf; 0: none yet */
	unsigned int first_exited;     /* 1 once it ended */
	unsigned int first_exit_code;  /* its status as wait(2) encodes it */
	unsigned int victim_pid;       /* the first victim of the OOM killer; 0: none */
	char victim_comm[AGENTCG_COMM_BYTES];
};

/* Most points of one curve, a power of two; when they are taken, two become one. */
#define CURVE_POINTS 256

struct agentcg_point {
	unsigned int t_ms;   /* since the curve began */
	unsigned int pages;  /* charged to the leaf, of 4 KiB; 0 without the memory controller */
	unsigned int ticks;  /* of CPU time since the curve began, of tick_ms each */
};

/* Value of the map `curves`; its key is the cgroup id of a tracked leaf. */
struct agentcg_curve {
	unsigned long long begun_ns;  /* CLOCK_BOOTTIME of t_ms = 0 */
	unsigned int count;
	unsigned int gap_ms;          /* points are at least so far apart */
	unsigned int ticks;           /* so far */
	unsigned int tick_ms;         /* length of a tick */
	struct agentcg_point points[CURVE_POINTS];
};

/* Begins every record of the ring. */
struct agentcg_event {
	unsigned long long cgroup_id;  /* the tracked leaf, also for processes in cgroups below it */
	unsigned long long time_ns;    /* CLOCK_BOOTTIME */
	unsigned int kind;             /* enum agentcg_kind */
	unsigned int pid;              /* thread group id in the initial pid namespace */
	unsigned int exit_code;        /* AGENTCG_EXIT: as wait(2) encodes it */
	unsigned int argv_bytes;       /* AGENTCG_EXEC: whole length; more than ARGV_BYTES: cut */
	char comm[AGENTCG_COMM_BYTES];
};

/* AGENTCG_EXEC: the arguments follow, separated by NUL. */
struct agentcg_exec {
	struct agentcg_event event;
	char argv[ARGV_BYTES];
};

#endif
