# SPDX-License-Identifier: Apache-2.0
"""Parts of what an agent is told: sizes, times, names of signals, the way on."""

from __future__ import annotations

import math
import signal

from agentcg.daemon.engine.model import Ending
from agentcg.daemon.messages import Account, Grant
from agentcg.units import format_duration, format_size

MIB = 1 << 20
HEADROOM = 1.25  # of the peak, for the need that is proposed
HELD_BACK_MIN_S = 1.0


def way_on(account: Account, grant: Grant, ending: Ending) -> tuple[str, int | None]:
    """What to do about too little memory, and the need to declare where that helps."""
    if account.memory_peak_bytes is None:
        return "Run a smaller part, or declare a larger need.", None
    need = propose(account.memory_peak_bytes)
    bounds = (ending.limit_bytes, grant.memory_max_bytes)  # a declaration lifts neither
    most = min((bound for bound in bounds if bound is not None), default=need)
    if need > most:
        return f"Run a smaller part: such a call cannot have more than {format_size(most)}.", None
    room = ending.room_bytes
    if room is not None and room < need:
        now = f" and let it wait for room (wait_s): {format_size(max(room, 0))} are free now"
    else:
        now = known("; {} are free now", room)
    return f"Run a smaller part, or declare {format_size(need)}{now}.", need


def known(words: str, size_bytes: int | None) -> str:
    """`words` with a size in it, or nothing where it is not known."""
    return "" if size_bytes is None else words.format(format_size(max(size_bytes, 0)))


def not_negative(size_bytes: int | None) -> int | None:
    """Room as a number for people: none where too much is promised."""
    return None if size_bytes is None else max(size_bytes, 0)


def throttled_s(account: Account) -> float | None:
    """Seconds at its memory.high."""
    return None if account.throttled_us is None else account.throttled_us / 1e6


def propose(peak_bytes: int) -> int:
    """A need to declare after a peak: a quarter more, rounded up to a round number."""
    wanted = peak_bytes * HEADROOM
    step = 16 * MIB if wanted < 512 * MIB else 128 * MIB
    return math.ceil(wanted / step) * step


def signal_name(number: int) -> str:
    """A signal by name, and the status that a shell shows for it."""
    name = bare_name(number)
    return f"signal {number}" if name is None else f"{name} (exit status {128 + number})"


def bare_name(number: int | None) -> str | None:
    """Its name; None where there is none."""
    try:
        return None if number is None else signal.Signals(number).name
    except ValueError:
        return None


def delayed_s(account: Account) -> float | None:
    """Seconds that its tasks were held up where they allocated, if that is long enough to tell."""
    total_s = account.delayed.total_us / 1e6 if account.delayed is not None else 0.0
    return total_s if total_s >= HELD_BACK_MIN_S else None


def is_held_back(account: Account, ending: Ending) -> bool:
    """Whether the call was held back long enough to tell: by the ladder, or where it allocated."""
    by_ladder_s = ending.slowed_s + ending.frozen_s
    return by_ladder_s >= HELD_BACK_MIN_S or delayed_s(account) is not None


def held_back_words(account: Account, ending: Ending) -> str:
    """How long the call was slowed, paused and held up, or nothing."""
    if not is_held_back(account, ending):
        return ""
    parts = []
    if ending.slowed_s:
        parts.append(f"slowed it for {format_duration(ending.slowed_s)}")
    if ending.frozen_s:
        parts.append(f"paused it for {format_duration(ending.frozen_s)}")
    if (held_up_s := delayed_s(account)) is not None:
        parts.append(f"held it up for {format_duration(held_up_s)} in all where it allocated")
    return f" agentcg {' and '.join(parts)}, because memory was short for all."
