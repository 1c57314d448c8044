/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading a task without kernel headers: the offsets OFF_* come from the running kernel's BTF
 * (btf.py).
 */
#ifndef AGENTCG_TASK_H
#define AGENTCG_TASK_H

/* The member of type TYPE at offset OFF of the kernel object BASE; 0 where it cannot be read. */
#define READ(TYPE, BASE, OFF) ({ TYPE value_ = 0; \
	bpf_probe_read_kernel(&value_, sizeof(value_), (char *)(BASE) + (OFF)); value_; })

/* The cgroup v2 of `task`. */
static inline void *cgroup_of(void *task)
{
	return READ(void *, READ(void *, task, OFF_TASK_CGROUPS), OFF_CSS_SET_DFL_CGRP);
}

/* What user space sees as the inode number of the cgroup's directory. */
static inline u64 cgroup_id(void *cgroup)
{
	return READ(u64, READ(void *, cgroup, OFF_CGROUP_KN), OFF_KERNFS_NODE_ID);
}

/* When the process (not the thread) of `task` was born, CLOCK_BOOTTIME. */
static inline u64 start_of(void *task)
{
	return READ(u64, READ(void *, task, OFF_TASK_GROUP_LEADER), OFF_TASK_START_BOOTTIME);
}

#endif
