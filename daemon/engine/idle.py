# SPDX-License-Identifier: Apache-2.0
"""The idle window: what is reclaimed from an agent while it waits for its model or does nothing.

An agent holds 150 to 300 MiB while it waits, which is most of the time. While no call runs, its
runtime leaf and what its calls left are asked back in steps, to swap (zram) where there is one. The
session itself steers: what it touches again at once (refaults) or waits for (PSI) was not
idle memory, and it is left alone for a while, twice as long each time. It ends ahead of a call that
is announced, and what was swapped out is brought back; so nothing here is for good.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from agentcg.daemon.messages import Phase, Priority

MIB = 1 << 20
PAGE_BYTES = 4096
STEP_SHARE = 1 / 3  # of what it holds, with each step
STEP_LEAST_BYTES = 8 * MIB
STEP_MOST_BYTES = 128 * MIB
LEFT_BYTES = 16 * MIB  # that are not asked for: shared libraries, what always runs
EVERY_S = 0.25
REFAULT_SHARE = 0.1  # of the last step, touched again before the next: it was not idle
STALL_PERCENT = 10.0  # memory PSI, some, avg10, of the session
BUSY_SHARE = 0.2  # of a CPU: it is at work, whatever its phase
REST_S = 30.0
REST_MOST_S = 600.0
YIELD_SHARE = 0.25  # of what was asked for; less twice in a row and the window is done


@dataclass(frozen=True, slots=True)
class Look:
    """A session that runs no call. `held_bytes`: by its runtime leaf, page cache included;
    `refaults`: pages, ever; `announced_in_s`: when a call is to come, None: not announced."""

    priority: Priority
    phase: Phase
    since_s: float  # in this phase
    declared: bool  # it said itself that it waits
    held_bytes: int
    refaults: int
    stall_percent: float | None
    busy_share: float  # of a CPU, since the last look
    swap_free_bytes: int
    cache_bytes: int = 0  # of what it holds
    announced_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """What was done with a session in its present window; a new one begins with each call."""

    began_bytes: int = 0  # held when it was begun; 0: not begun
    asked_bytes: int = 0  # by the last step
    held_bytes: int = 0  # at the last step
    refaults: int = 0
    at: float = 0.0
    poor: int = 0  # steps in a row that yielded little
    rest_until: float = 0.0
    rest_s: float = 0.0
    back: bool = False  # brought back for the announced call


@dataclass(frozen=True, slots=True)
class Deed:
    """Ask `size_bytes` back, or bring back what is swapped out."""

    kind: Literal["reclaim", "bring-back"]
    size_bytes: int = 0


def decide(
    look: Look, window: Window, *, after_s: float, ahead_s: float, now: float
) -> tuple[Window, Deed | None]:
    """What to do with a session now. `after_s`: how long it has to do nothing, if it does not say
    so itself; `ahead_s`: so long before an announced call it has its memory back."""
    rested = Window(rest_until=window.rest_until, rest_s=window.rest_s)
    if look.phase in ("calling", "paused"):
        return rested, None
    # Looks are as far apart as that; so it is never later than `ahead_s` before.
    if look.announced_in_s is not None and look.announced_in_s <= ahead_s + EVERY_S:
        taken = bool(window.began_bytes) and not window.back
        return replace(window, back=True), Deed("bring-back") if taken else None
    if window.back:  # it was announced and did not come
        window = rested
    if now < window.rest_until or now - window.at < EVERY_S:
        return window, None
    if _is_at_work(look, window):
        return _rest(window, look, now), None
    return _step(look, window, now) if look.declared or look.since_s >= after_s else (window, None)


def _is_at_work(look: Look, window: Window) -> bool:
    touched = (look.refaults - window.refaults) * PAGE_BYTES
    if window.asked_bytes and touched > window.asked_bytes * REFAULT_SHARE:
        return True
    stalled = window.asked_bytes > 0 and (look.stall_percent or 0.0) > STALL_PERCENT
    return stalled or look.busy_share > BUSY_SHARE


def _rest(window: Window, look: Look, now: float) -> Window:
    if not window.asked_bytes:  # nothing was taken that it could miss
        return replace(window, at=now, refaults=look.refaults)
    rest_s = min(max(window.rest_s * 2, REST_S), REST_MOST_S)
    return replace(
        window, asked_bytes=0, refaults=look.refaults, rest_s=rest_s, rest_until=now + rest_s
    )


def _step(look: Look, window: Window, now: float) -> tuple[Window, Deed | None]:
    poor = window.poor
    if window.asked_bytes:
        yielded = window.held_bytes - look.held_bytes
        poor = poor + 1 if yielded < window.asked_bytes * YIELD_SHARE else 0
    after = replace(
        window, at=now, held_bytes=look.held_bytes, refaults=look.refaults, poor=poor,
        began_bytes=window.began_bytes or look.held_bytes, asked_bytes=0,
    )  # fmt: skip
    to_be_had = min(look.held_bytes, look.cache_bytes + look.swap_free_bytes) - LEFT_BYTES
    size = min(max(int(look.held_bytes * STEP_SHARE), STEP_LEAST_BYTES), STEP_MOST_BYTES, to_be_had)
    if poor >= 2 or size < STEP_LEAST_BYTES:
        return after, None
    return replace(after, asked_bytes=size), Deed("reclaim", size)
