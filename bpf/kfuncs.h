/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernel functions that the programs call, and open-coded loops. Weak: not on all kernels. */
#ifndef AGENTCG_KFUNCS_H
#define AGENTCG_KFUNCS_H

#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

extern void *bpf_obj_new_impl(u64 local_type_id, void *meta) __ksym;
extern void bpf_obj_drop_impl(void *object, void *meta) __ksym;
extern int bpf_rbtree_add_impl(struct bpf_rb_root *root, struct bpf_rb_node *node,
			       bool (*less)(struct bpf_rb_node *a, const struct bpf_rb_node *b),
			       void *meta, u64 off) __ksym;
extern struct bpf_rb_node *bpf_rbtree_first(struct bpf_rb_root *root) __ksym;
extern struct bpf_rb_node *bpf_rbtree_remove(struct bpf_rb_root *root,
					     struct bpf_rb_node *node) __ksym;

extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

extern s32 scx_bpf_create_dsq(u64 dsq_id, s32 node) __ksym;
extern s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
				  bool *is_idle) __ksym;
extern void scx_bpf_dsq_insert(struct task_struct *p, u64 dsq_id, u64 slice_ns,
			       u64 enq_flags) __ksym;
extern void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice_ns, u64 vtime,
				     u64 enq_flags) __ksym;
extern bool scx_bpf_dsq_move_to_local(u64 dsq_id) __ksym;
extern s32 scx_bpf_dsq_nr_queued(u64 dsq_id) __ksym;
extern void scx_bpf_kick_cpu(s32 cpu, u64 flags) __ksym;
extern s32 scx_bpf_pick_idle_cpu(const struct cpumask *allowed, u64 flags) __ksym;
extern s32 scx_bpf_pick_any_cpu(const struct cpumask *allowed, u64 flags) __ksym;
extern u64 scx_bpf_now(void) __ksym __weak;
extern s32 scx_bpf_task_cpu(const struct task_struct *p) __ksym;
extern u32 scx_bpf_nr_cpu_ids(void) __ksym;
extern const struct cpumask *scx_bpf_get_online_cpumask(void) __ksym;
extern void scx_bpf_put_cpumask(const struct cpumask *mask) __ksym;
extern bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *mask) __ksym;
extern u32 bpf_cpumask_weight(const struct cpumask *mask) __ksym;
/* Since 7.1, and its like since 6.19: libbpf leaves out what is behind the last ___. */
extern void scx_bpf_dsq_reenq(u64 dsq_id, u64 flags) __ksym __weak;
extern void scx_bpf_reenqueue_local___v2___any(void) __ksym __weak;
extern bool scx_bpf_task_set_slice(struct task_struct *p, u64 slice_ns) __ksym __weak;

extern int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, u64 dsq_id, u64 flags) __ksym;
extern struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it) __ksym;
extern void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it) __ksym;

extern void scx_bpf_dsq_move_set_vtime(struct bpf_iter_scx_dsq *it, u64 vtime) __ksym;
extern bool scx_bpf_dsq_move_vtime(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id,
				   u64 enq_flags) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void bpf_local_irq_save(unsigned long *flags) __ksym __weak;
extern void bpf_local_irq_restore(unsigned long *flags) __ksym __weak;
extern int bpf_task_work_schedule_resume(struct task_struct *p, struct bpf_task_work *work,
					 void *map, int (*callback)(struct bpf_map *map, void *key,
								    void *value)) __ksym __weak;

#ifndef container_of
#define container_of(pointer, type, member) \
	((type *)((void *)(pointer) - __builtin_offsetof(type, member)))
#endif

/* for_range(i, 0, n) { }: a loop that the verifier follows once, whatever n is. */
#define for_range(i, start, end)                                                              \
	for (struct bpf_iter_num __it_##i __attribute__((cleanup(bpf_iter_num_destroy))),      \
	     *__new_##i __attribute__((unused)) =                                               \
		     (bpf_iter_num_new(&__it_##i, (start), (end)),                              \
		      (void)bpf_iter_num_destroy, (void *)0);                                   \
	     ({ int *__v = bpf_iter_num_next(&__it_##i); (i) = __v ? *__v : 0; __v; });)

#endif
