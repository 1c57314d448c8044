# SPDX-License-Identifier: Apache-2.0
"""How Linux slows a charging cgroup beyond `memory.high`, and whom its OOM killer takes. Pure.

mm/memcontrol.c (`calculate_high_delay`, `__mem_cgroup_handle_over_high`): a task that has charged
a batch of 64 pages beyond `memory.high` sleeps when it returns to user mode, for

    overage^2 * 64 s,   overage = (usage - high) / high

at most 2 s, and not at all below 10 ms. So usage beyond the limit grows with the cube root of
time. Nothing else happens there: there is no page cache to reclaim, and only the daemon puts
anything into swap.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import cbrt, sqrt
from typing import TypeVar

BATCH_BYTES = 64 * 4096  # MEMCG_CHARGE_BATCH pages
SCALE_S = 64.0  # 2^(2 * 20 - 20 - 14) of MEMCG_DELAY_PRECISION_SHIFT and _SCALING_SHIFT
DELAY_LEAST_S = 0.010
DELAY_MOST_S = 2.0

FREE_SHARE = sqrt(DELAY_LEAST_S / SCALE_S)  # overage up to which nobody sleeps
STEEP_SHARE = sqrt(DELAY_MOST_S / SCALE_S)  # from here on every batch costs DELAY_MOST_S

SWAP_SAVES = 0.5  # of what is in zram: it compresses 2:1, and stays in the host's memory
SWAP_IN_BYTES_PER_S = 256 << 20  # page faults from zram, 15 us each: assumed, not measured

T = TypeVar("T")


def slowed_from(high_bytes: float) -> float:
    """Usage in bytes from which on charging costs sleep."""
    return high_bytes * (1 + FREE_SHARE)


def grown(level_bytes: float, high_bytes: float, seconds: float) -> float:
    """Usage after charging as fast as the penalty allows, from `slowed_from` or more."""
    over = level_bytes - high_bytes
    steep = high_bytes * STEEP_SHARE
    if over < steep:
        cubed = over**3 + _cubic(high_bytes) * seconds
        if cubed <= steep**3:
            return high_bytes + cbrt(cubed)
        seconds = (cubed - steep**3) / _cubic(high_bytes)
        over = steep
    return high_bytes + over + BATCH_BYTES / DELAY_MOST_S * seconds


def seconds_to(level_bytes: float, high_bytes: float, target_bytes: float) -> float:
    """The inverse of `grown`."""
    over, target = level_bytes - high_bytes, target_bytes - high_bytes
    steep = high_bytes * STEEP_SHARE
    took_s = 0.0
    if over < steep:
        upto = min(target, steep)
        took_s = (upto**3 - over**3) / _cubic(high_bytes)
        over = steep
    if target > over:
        took_s += (target - over) * DELAY_MOST_S / BATCH_BYTES
    return took_s


def victim(candidates: Iterable[tuple[T, float, int]], limit_bytes: float) -> T | None:
    """Whom the OOM killer takes of (process, bytes, oom_score_adj): oom_badness, mm/oom_kill.c."""
    worst, most = None, 0.0
    for process, held, adjusted in candidates:
        points = held + adjusted * limit_bytes / 1000
        if points > most:
            worst, most = process, points
    return worst


def _cubic(high_bytes: float) -> float:
    """d(over^3)/dt: from d(over)/dt = BATCH / (SCALE * (over / high)^2)."""
    return 3 * BATCH_BYTES * high_bytes**2 / SCALE_S
