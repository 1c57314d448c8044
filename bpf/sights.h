/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Records of detection.c: plain integers of fixed width, natural alignment, no holes.
 * agentcg/bpf/sights.py mirrors them; tests compare the mirror with the BTF of the program.
 */
#ifndef AGENTCG_SIGHTS_H
#define AGENTCG_SIGHTS_H

#define AGENTCG_NAME_BYTES 16

/*
 * Most bytes of a command line, of one variable, and variables, that one record carries. Of a longer
 * command line it has the beginning and the end: what clients put around a command stands before it.
 */
#define SIGHT_HEAD_BYTES 512
#define SIGHT_TAIL_BYTES 768
#define SIGHT_ARGV_BYTES (SIGHT_HEAD_BYTES + SIGHT_TAIL_BYTES)
#define SIGHT_VARIABLE_BYTES 128
#define SIGHT_VARIABLES 4

enum agentcg_sight_kind {
	AGENTCG_BORN = 1,  /* a process was forked in a watched cgroup */
	AGENTCG_RAN = 2,   /* a process there executed a program, or one of a watched name elsewhere */
	AGENTCG_GONE = 3,  /* a process ended in a watched cgroup */
};

struct agentcg_sight {
	unsigned long long cgroup_id;
	unsigned long long time_ns;          /* CLOCK_BOOTTIME */
	unsigned long long start_ns;         /* birth of the process; with the pid, its identity */
	unsigned long long parent_start_ns;  /* of the process that forked it, also if that is gone */
	unsigned int kind;                   /* enum agentcg_sight_kind */
	unsigned int watched;                /* 0: seen by its name alone */
	unsigned int pid;                    /* these in the initial pid namespace */
	unsigned int parent;
	unsigned int pgid;
	unsigned int sid;
	unsigned int uid;                    /* real uid in the initial user namespace */
	unsigned int exit_code;              /* AGENTCG_GONE: as wait(2) encodes it */
	unsigned int argv_bytes;             /* whole length; more than SIGHT_ARGV_BYTES: without its middle */
	unsigned int variables;              /* how many follow */
	char comm[AGENTCG_NAME_BYTES];
};

/* AGENTCG_RAN: arguments separated by NUL, then NAME=value of watched variables. */
struct agentcg_sight_ran {
	struct agentcg_sight sight;
	char argv[SIGHT_ARGV_BYTES];
	char environment[SIGHT_VARIABLES][SIGHT_VARIABLE_BYTES];
};

#endif
