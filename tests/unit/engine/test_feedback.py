# SPDX-License-Identifier: Apache-2.0
"""What an agent is told about a call that has ended."""

from __future__ import annotations

import pytest

from agentcg.daemon.engine import Ending, of_call
from agentcg.daemon.engine.feedback import propose
from agentcg.daemon.messages import Account, Grant

GIB = 1 << 30
MIB = 1 << 20


def granted(high: int | None = 300 * MIB, maximum: int | None = None) -> Grant:
    """A grant with these limits."""
    return Grant(
        memory_high_bytes=high, memory_max_bytes=maximum, cpu_weight=100, pids_max=None,
        source="declared", reason="",
    )  # fmt: skip


def told(account: Account, ending: Ending, grant: Grant | None = None) -> list[tuple[str, str]]:
    """Codes and texts."""
    return [(one.code, one.text) for one in of_call(account, grant or granted(), ending)]


def test_an_ordinary_end() -> None:
    """Use against grant, and the time."""
    account = Account(wall_s=3.2, memory_peak_bytes=96 * MIB, memory_high_events=0, oom_kills=0)
    assert told(account, Ending("declared", exit_status=1)) == [
        ("ok", "Done in 3.2s at a peak of 96M of 300M granted.")
    ]


def test_nothing_known_still_says_something() -> None:
    """On a kernel without these files there is an answer, without invented numbers."""
    assert told(Account(wall_s=0.0), Ending("emptied"), granted(None)) == [("ok", "Done in 0ms.")]


def test_killed_for_memory() -> None:
    """It was the call and not its work that failed; the way on has numbers."""
    account = Account(wall_s=41.0, memory_peak_bytes=int(1.8 * GIB), oom_kills=3)
    ending = Ending("oom", exit_status=137, room_bytes=3 * GIB, limit_bytes=4 * GIB)
    assert told(account, ending) == [
        (
            "oom-call",
            "The kernel killed the call for memory at 1.8G after 41s (the limit of the session or "
            "host: 4.0G); the call was killed, it did not fail by itself. Run a smaller part, or "
            "declare 2.2G; 3.0G free now.",
        )
    ]


def test_killed_at_its_own_limit() -> None:
    """A memory_max of the policy is named as the limit; declaring more would not lift it."""
    account = Account(wall_s=2.0, memory_peak_bytes=GIB, oom_kills=1)
    ((_, text),) = told(account, Ending("oom", limit_bytes=8 * GIB), granted(GIB, GIB))
    assert "(its own limit: 1.0G)" in text
    assert text.endswith("Run a smaller part: such a call cannot have more than 1.0G.")


def test_more_than_can_be_had_is_not_proposed() -> None:
    """Declaring more does not help beyond the session's limit; a smaller part does."""
    account = Account(wall_s=2.0, memory_peak_bytes=GIB, oom_kills=1)
    ((_, text),) = told(account, Ending("oom", limit_bytes=GIB))
    assert text.endswith("Run a smaller part: such a call cannot have more than 1.0G.")
    assert "declare" not in text


def test_slowed_at_its_grant() -> None:
    """A call that lost time at memory_high learns how much, and what to declare."""
    account = Account(
        wall_s=60, memory_peak_bytes=310 * MIB, memory_high_events=900, throttled_us=4_200_000
    )
    assert told(account, Ending("declared", 0, room_bytes=GIB)) == [
        (
            "over-grant",
            "The call met its grant of 300M and waited 4.2s for memory. Run a smaller part, or "
            "declare 400M; 1.0G free now.",
        )
    ]


def test_dropping_page_cache_is_not_worth_telling() -> None:
    """A call may meet memory_high with files it has read; no time lost, nothing to say."""
    account = Account(
        wall_s=60, memory_peak_bytes=300 * MIB, memory_high_events=9, throttled_us=4_000
    )
    assert [code for code, _ in told(account, Ending("declared", 0))] == ["ok"]


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (Ending("declared", 143), "SIGTERM (15) after 5.0s, not by agentcg and not for memory"),
        (Ending("declared", 137), "SIGKILL (9) after 5.0s, not by agentcg and not for memory"),
        (Ending("killed", 137), "SIGKILL (9) after 5.0s, on request"),
        (Ending("session-closed", 137), "SIGKILL (9) after 5.0s, because its session was closed"),
        (Ending("declared", 128 + 99), "signal 99 after 5.0s"),
    ],
)
def test_ended_by_a_signal(ending: Ending, words: str) -> None:
    """A signal is told apart from an out-of-memory kill, and by whom where that is known."""
    account = Account(wall_s=5.0, memory_peak_bytes=MIB, oom_kills=0)
    ((code, text),) = told(account, ending)
    assert code == "signal"
    assert words in text


def test_leftovers_are_told_beside_the_rest() -> None:
    """The gravest comes first; processes that stay behind are a line of their own."""
    account = Account(wall_s=1.0, memory_current_bytes=120 * MIB, oom_kills=1)
    lines = told(account, Ending("oom", lingering_processes=2))
    assert [code for code, _ in lines] == ["oom-call", "lingering"]
    assert lines[1][1].startswith("2 processes of the call are still running holding 120M;")
    ((_, text),) = told(Account(wall_s=1.0), Ending("declared", 0, lingering_processes=1))
    assert text.startswith("1 process of the call is still running;")


@pytest.mark.parametrize(
    ("peak", "need"), [(10 * MIB, 16), (100 * MIB, 128), (310 * MIB, 400), (GIB, 1280)]
)
def test_proposals_are_round_and_above_the_peak(peak: int, need: int) -> None:
    """A quarter above the peak, in steps that a person would choose."""
    assert propose(peak) == need * MIB
