// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a call's use went over time, and what tasks and sockets know of it. Compiled together with
 * accounting.c, whose tracked leaves and helpers it uses.
 *
 * Problem
 * -------
 * Half of all calls are over within a second, and a burst of a gigabyte takes a third of one.
 * Whoever reads memory.current from outside comes too late or too often. But a leaf that grows is
 * on a CPU while it does. So the program looks whenever TICK_MS of CPU time were used by sessions on
 * a CPU, as the scheduler counts it: it sees every growth, and costs nothing while everybody waits
 * for a model.
 *
 * Worked example
 * --------------
 * call-7 (cgroup 4711) allocates 300M in 0.4 s, computes for 2 s, and frees it:
 *
 *	tick at 10 ms     curves[4711] = { (0 ms, 8M, 1 tick) }
 *	tick at 20 ms     (10 ms, 16M, 2 ticks)          grown by more than a 64th: a point
 *	...               (400 ms, 300M, 41 ticks)
 *	tick at 410 ms    no point: nothing has changed
 *	tick at 560 ms    (560 ms, 300M, 57 ticks)       16 gaps without one: a point all the same
 *
 * When CURVE_POINTS are taken, two neighbours become one with the higher memory of both, and
 * points are twice as far apart from then on. So a curve always covers the whole life of the call,
 * keeps its peaks, and takes the same room for an hour as for a second.
 *
 * Limits
 * ------
 * - A tick is TICK_MS of a CPU that sessions were on, rounded up to the kernel's own timer tick: a
 *   call that shares its CPU with other calls is seen in proportion to what it gets of it. A call
 *   of less than a tick may have no curve.
 * - Ticks are a sample of CPU time, and some is left out (on_runtime): cpu.stat is exact.
 * - Memory that shrinks while no task of the leaf runs is seen at its next tick.
 * - Two CPUs that tick within nanoseconds of each other may write the same point; one is lost.
 * - memory.peak is exact; the highest point of a curve may be below it.
 */

#define TICKS_BETWEEN_POINTS_MAX 16
#define MIN_CHANGE_PAGES 64
#define TICK_NS (TICK_MS * 1000000ULL)

BPF_F_TABLE("hash", u64, struct agentcg_curve, curves, ACCOUNTS, BPF_F_NO_PREALLOC);
BPF_ARRAY(blank_curve, struct agentcg_curve, 1);
BPF_PERCPU_ARRAY(unsampled_ns, u64, 1);  /* CPU time of sessions here since the last tick */

/* Pages charged to the cgroup; 0 where it has no memory controller. */
static inline u32 pages_of(void *cgroup)
{
#ifdef OFF_CGROUP_MEMORY
	/* struct mem_cgroup begins with its state, which is what cgroup->subsys points to. */
	return READ(u64, READ(void *, cgroup, OFF_CGROUP_MEMORY), OFF_MEMCG_USAGE);
#else
	return 0;
#endif
}

static inline void halve(struct agentcg_curve *curve)
{
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < CURVE_POINTS / 2; i++) {
		struct agentcg_point *first = &curve->points[2 * i];
		struct agentcg_point *second = &curve->points[2 * i + 1];
		struct agentcg_point higher = second->pages > first->pages ? *second : *first;

		higher.ticks = second->ticks;
		curve->points[i] = higher;
	}
	curve->count = CURVE_POINTS / 2;
	curve->gap_ms *= 2;
}

static inline bool has_changed(u32 before, u32 now)
{
	u32 change = now > before ? now - before : before - now;

	return change >= MIN_CHANGE_PAGES && change >= before / 64;
}

static inline void note_point(struct agentcg_curve *curve, u32 t_ms, u32 pages)
{
	struct agentcg_point *last, *next;

	last = &curve->points[(curve->count - 1) & (CURVE_POINTS - 1)];
	if (curve->count && t_ms - last->t_ms < curve->gap_ms) {
		if (pages > last->pages)  /* the other CPUs tick in between */
			last->pages = pages;
		last->ticks = curve->ticks;
		return;
	}
	if (curve->count && !has_changed(last->pages, pages) &&
	    t_ms - last->t_ms < TICKS_BETWEEN_POINTS_MAX * curve->gap_ms)
		return;
	if (curve->count >= CURVE_POINTS)
		halve(curve);
	next = &curve->points[curve->count & (CURVE_POINTS - 1)];
	next->t_ms = t_ms;
	next->pages = pages;
	next->ticks = curve->ticks;
	curve->count++;
}

/*
 * sched_stat_runtime(task, ns): the scheduler has counted what a task used, at every timer tick and
 * whenever it leaves the CPU. Another CPU that wakes a task here may count for the running one:
 * that part is left out, so that a look at the running task is enough.
 */
int on_runtime(struct bpf_raw_tracepoint_args *ctx)
{
	void *task = (void *)bpf_get_current_task();
	struct agentcg_curve *curve, *blank;
	u64 now, ticks, *used_ns;
	struct leaf leaf;
	u32 zero = 0;

	if ((void *)ctx->args[0] != task || !in_scope())
		return 0;
	used_ns = unsampled_ns.lookup(&zero);
	if (!used_ns)
		return 0;
	*used_ns += ctx->args[1];
	if (*used_ns < TICK_NS)
		return 0;
	ticks = *used_ns / TICK_NS;
	*used_ns -= ticks * TICK_NS;
	if (!find_leaf(task, &leaf))
		return 0;
	now = bpf_ktime_get_boot_ns();
	curve = curves.lookup(&leaf.id);
	if (!curve) {
		blank = blank_curve.lookup(&zero);
		if (!blank)
			return 0;
		curves.insert(&leaf.id, blank);
		curve = curves.lookup(&leaf.id);
		if (!curve)
			return 0;
		curve->begun_ns = now;
		curve->gap_ms = TICK_MS;
		curve->tick_ms = TICK_MS;
	}
	curve->ticks += ticks;
	note_point(curve, (now - curve->begun_ns) / 1000000, pages_of(leaf.cgroup));
	return 0;
}

#ifdef OFF_SOCK_FAMILY
static inline bool is_internet(void *sock)
{
	u16 family = READ(u16, sock, OFF_SOCK_FAMILY);

	return family == 2 /* AF_INET */ || family == 10 /* AF_INET6 */;
}

#define MSG_PEEK 2
#define TCP_SYN_SENT 2

/* sock_send_length(sk, ret, flags): in the task, with what was sent, or an error. Since 6.3. */
int on_sent(struct bpf_raw_tracepoint_args *ctx)
{
	int bytes = ctx->args[1];
	struct leaf leaf;

	if (bytes > 0 && in_scope() && is_internet((void *)ctx->args[0]) &&
	    find_leaf((void *)bpf_get_current_task(), &leaf))
		__sync_fetch_and_add(&leaf.account->sent_bytes, bytes);
	return 0;
}

/* sock_recv_length(sk, ret, flags) */
int on_received(struct bpf_raw_tracepoint_args *ctx)
{
	int bytes = ctx->args[1];
	struct leaf leaf;

	if (bytes > 0 && !(ctx->args[2] & MSG_PEEK) && in_scope() &&
	    is_internet((void *)ctx->args[0]) &&
	    find_leaf((void *)bpf_get_current_task(), &leaf))
		__sync_fetch_and_add(&leaf.account->received_bytes, bytes);
	return 0;
}

/* inet_sock_set_state(sk, old, new): to SYN_SENT in the task that connects. Since 4.16. */
int on_socket_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct leaf leaf;

	if ((int)ctx->args[2] == TCP_SYN_SENT && in_scope() &&
	    find_leaf((void *)bpf_get_current_task(), &leaf))
		add(&leaf.account->connections);
	return 0;
}
#endif
