# SPDX-License-Identifier: Apache-2.0
"""What a session's own earlier calls tell about its next one.

A kind of call is a tool and a category. Within a run the largest earlier call of a kind predicts
the next one well; finer kinds (the program, the command) predict no better and know less, and
other runs of the same task say little (docs/benchmarks.md, "How much a call will need"). So a
history belongs to one session, is bounded, and is plain data that fits an extended attribute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from agentcg.daemon.messages import Category
from agentcg.units import format_size

MIB = 1 << 20
KINDS_KEPT = 24
PEAKS_KEPT = 16
FAILED_KEPT = 8
RATIOS_KEPT = 8
USES_KEPT = 16
FORGET_FAILED_S = 1800.0

LARGEST_FACTOR = 1.25
DEFAULT_SHARE = 1 / 3
TRUSTED_FROM = 2  # calls seen; before, the need is not below the class default
FAILED_FACTOR = 1.5
LEAST_BYTES = 16 * MIB

TRUST_GIVEN = 2
DECLARED_FROM = 3  # declarations seen, before they are corrected
CORRECTION = (0.1, 4.0)


class Kind(msgspec.Struct, frozen=True, array_like=True):
    """The latest calls of one kind, in MiB; the oldest first."""

    tool: str
    category: Category
    peaks_mib: tuple[int, ...] = ()  # of calls that did not fail for memory
    failed_mib: tuple[int, ...] = ()  # held when they failed for memory, in a row
    failed_at: float = 0.0
    failed_last: bool = False
    walls_ms: tuple[int, ...] = ()  # how long they took, of the latest of `peaks_mib`


class History(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of a session's calls; the kind used last stands last."""

    kinds: tuple[Kind, ...] = ()
    declared_percent: tuple[int, ...] = ()  # what calls took of what they had declared
    duration_percent: tuple[int, ...] = ()  # the same of time
    uses: tuple[int, ...] = ()  # of intents that memory was held for: 1 a call came, 0 none did

    def of(self, tool: str, category: Category) -> Kind | None:
        """The calls of this kind."""
        return next(
            (kind for kind in self.kinds if (kind.tool, kind.category) == (tool, category)), None
        )


EMPTY = History()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call went. `peak_bytes`: the most that it held; `failed`: for memory."""

    tool: str
    category: Category
    peak_bytes: int
    failed: bool = False
    declared_bytes: int | None = None
    wall_s: float | None = None
    declared_s: float | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """The need of a next call, and in words what it is taken from."""

    need_bytes: int
    words: str


def held_peak_bytes(
    peak_bytes: int | None, cache_bytes: int | None, seen_bytes: int | None
) -> int | None:
    """The most that a call held, page cache left out: the kernel keeps no such peak.

    `peak_bytes`: memory.peak, with cache; `cache_bytes`: page cache that is left at the end, of
    which there was mostly less before; `seen_bytes`: the most held at the looks at it.
    """
    if peak_bytes is None:
        return seen_bytes
    return max(peak_bytes - (cache_bytes or 0), seen_bytes or 0, 0)


def learn(history: History, outcome: Outcome, now: float) -> History:
    """`history` with one more call; the oldest beyond the bounds are forgotten."""
    kind = history.of(outcome.tool, outcome.category) or Kind(outcome.tool, outcome.category)
    peak_mib = math.ceil(outcome.peak_bytes / MIB)
    if outcome.failed:
        failed = (*_failed(kind, now), peak_mib)[-FAILED_KEPT:]
        kind = replace(kind, failed_mib=failed, failed_at=now, failed_last=True)
    else:
        # A small call that went well says nothing about the large one that did not.
        failed = _failed(kind, now)
        failed = () if failed and peak_mib * 2 >= max(failed) else failed
        peaks = (*kind.peaks_mib, peak_mib)[-PEAKS_KEPT:]
        walls = (*kind.walls_ms, round((outcome.wall_s or 0.0) * 1000))[-PEAKS_KEPT:]
        kind = replace(kind, peaks_mib=peaks, failed_mib=failed, failed_last=False, walls_ms=walls)
    others = (k for k in history.kinds if (k.tool, k.category) != (kind.tool, kind.category))
    percent, durations = history.declared_percent, history.duration_percent
    if outcome.declared_bytes:
        percent = _with(percent, outcome.peak_bytes / outcome.declared_bytes)
    if outcome.declared_s and outcome.wall_s is not None:
        durations = _with(durations, outcome.wall_s / outcome.declared_s)
    return replace(
        history, kinds=(*others, kind)[-KINDS_KEPT:], declared_percent=percent,
        duration_percent=durations,
    )  # fmt: skip


def _with(percent: tuple[int, ...], ratio: float) -> tuple[int, ...]:
    return (*percent, int(min(ratio * 100, 10_000.0)))[-RATIOS_KEPT:]


def note_use(history: History, *, used: bool) -> History:
    """`history`, with whether a call came for which memory was held."""
    return replace(history, uses=(*history.uses, int(used))[-USES_KEPT:])


def trust(history: History) -> float:
    """By what the confidence in a session's intents is multiplied, above 0 to 1: the share of the
    latest that a call came for, two given in advance."""
    return (sum(history.uses) + TRUST_GIVEN) / (len(history.uses) + TRUST_GIVEN)


def expected(
    history: History, tool: str, category: Category, default_bytes: int | None, now: float
) -> Expected | None:
    """What the next call of a kind needs; None where nothing is known of it.

    A quarter more than the largest of the latest ones and a third of the class default; after a
    call that failed for memory, half as much again as the most that one failed with.
    """
    kind = history.of(tool, category)
    if kind is None:
        return None
    failed = _failed(kind, now)
    if failed and kind.failed_last:
        most = max(failed) * MIB
        words = f"the last {category} call ran out of memory at {format_size(most)}"
        return Expected(_ceil(max(most * FAILED_FACTOR, LEAST_BYTES)), words)
    if not kind.peaks_mib:
        return None
    largest, seen = max(kind.peaks_mib) * MIB, len(kind.peaks_mib)
    need = largest * LARGEST_FACTOR + (default_bytes or 0) * DEFAULT_SHARE
    if seen < TRUSTED_FROM:
        need = max(need, default_bytes or 0)
    calls = f"{seen} earlier {category} calls" if seen > 1 else f"an earlier {category} call"
    return Expected(_ceil(max(need, LEAST_BYTES)), f"{calls}, at most {format_size(largest)}")


def failures(history: History, tool: str, category: Category, now: float) -> tuple[int, ...]:
    """With how many bytes the latest calls of a kind failed for memory, in a row."""
    kind = history.of(tool, category)
    return () if kind is None else tuple(mib * MIB for mib in _failed(kind, now))


def correction(history: History) -> float:
    """By what a declared need is multiplied, from what earlier ones were worth: 1 where too few
    are known; the worst of the latest decides, with a quarter to spare where that is less."""
    percent = history.declared_percent
    if len(percent) < DECLARED_FROM:
        return 1.0
    worst = max(percent) / 100
    low, high = CORRECTION
    factor = worst * LARGEST_FACTOR
    return max(factor, low) if factor < 1 else min(max(worst, 1.0), high)


def _failed(kind: Kind, now: float) -> tuple[int, ...]:
    return kind.failed_mib if now - kind.failed_at < FORGET_FAILED_S else ()


def _ceil(size_bytes: float) -> int:
    return math.ceil(size_bytes / MIB) * MIB
