# SPDX-License-Identifier: Apache-2.0
"""How sessions share processors that all of them want: by weight, none more than it wants. Pure."""

from __future__ import annotations

from collections.abc import Sequence

LEAST_SHARE = 1e-3  # of what it wants; nobody stands still for ever


def shares(wanted: Sequence[tuple[float, float]], cpus: float) -> list[float]:
    """Share of its wish that each of (cores wanted, weight) gets of `cpus`, at most 1.

    What one does not want is for the others, in proportion to their weights (CPU weight as
    EEVDF has it over a longer time; no bandwidth limit).
    """
    got = [1.0] * len(wanted)
    if sum(cores for cores, _ in wanted) <= cpus:
        return got
    order = sorted(range(len(wanted)), key=lambda i: wanted[i][0] / wanted[i][1])
    weight_left = sum(weight for cores, weight in wanted if cores > 0)
    left = cpus
    for i in order:
        cores, weight = wanted[i]
        if cores <= 0:
            continue
        fair = left * weight / weight_left
        used = min(cores, fair)
        got[i] = max(used / cores, LEAST_SHARE)
        left -= used
        weight_left -= weight
    return got
