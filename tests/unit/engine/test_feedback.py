# SPDX-License-Identifier: Apache-2.0
"""What an agent is told about a call that has ended."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentcg.daemon.engine import Ending, Leaving, is_plain, of_call
from agentcg.daemon.engine.feedback_words import propose
from agentcg.daemon.messages import Account, Delayed, Feedback, Grant

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


@given(
    account=st.builds(
        Account, wall_s=st.just(2.0), oom_kills=st.sampled_from([None, 0, 1]),
        memory_high_events=st.sampled_from([None, 0, 3]),
        throttled_us=st.sampled_from([None, 0, 10**6]),
    ),
    ending=st.builds(
        Ending, reason=st.sampled_from(["declared", "oom", "killed"]),
        exit_status=st.sampled_from([None, 0, 1, 137]), cancelled=st.booleans(),
        lingering_processes=st.sampled_from([0, 2]), slowed_s=st.sampled_from([0.0, 5.0]),
        failed=st.sampled_from([(), (GIB,), (GIB, GIB)]),
        leaving=st.sampled_from([Leaving(), Leaving(3, GIB)]),
        killed=st.sampled_from([None, Feedback(code="killed", text="Killed.")]),
    ),
)  # fmt: skip
def test_room_and_limits_are_asked_for_where_told(account: Account, ending: Ending) -> None:
    """They change nothing where there is nothing to tell but that the call is done."""
    more = replace(ending, room_bytes=GIB, limit_bytes=GIB, limit_of="session")
    codes = [code for code, _ in told(account, ending)]
    assert is_plain(account, granted(), ending) == (codes == ["ok"])
    if codes == ["ok"]:
        assert told(account, more) == told(account, ending)


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
            "The kernel killed the call for memory at 1.8G after 41s (the host's limit: 4.0G); the "
            "call was killed (exit status 137), its work did not fail by itself. Run a smaller "
            "part, or declare 2.2G; 3.0G are free now.",
        )
    ]


def test_killed_at_its_own_limit() -> None:
    """A memory_max of the policy is named as the limit; declaring more would not lift it."""
    account = Account(wall_s=2.0, memory_peak_bytes=GIB, oom_kills=1)
    ((_, text),) = told(account, Ending("oom", limit_bytes=8 * GIB), granted(GIB, GIB))
    assert "(the call's limit: 1.0G)" in text
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
            "declare 400M; 1.0G are free now.",
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
        (
            Ending("declared", 143),
            "SIGTERM (exit status 143) after 5.0s, not by agentcg and not for memory",
        ),
        (
            Ending("declared", 137),
            "SIGKILL (exit status 137) after 5.0s, not by agentcg and not for",
        ),
        (Ending("killed", 137), "SIGKILL (exit status 137) after 5.0s, on request"),
        (Ending("session-closed", 137), "after 5.0s, because its session was closed"),
        (Ending("declared", 143, cancelled=True), "after 5.0s, by its own caller (interrupted, or"),
        (Ending("declared", 139), "SIGSEGV (exit status 139) after 5.0s, a fault of the program"),
        (Ending("declared", 152), "SIGXCPU (exit status 152) after 5.0s, a resource limit"),
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


def test_who_ended_it_is_a_field() -> None:
    """agentcg, the kernel for memory, the program's own fault, its caller, its session's closing:
    each is told apart without reading the text."""
    killed = Feedback(code="killed", text="agentcg killed the call.")
    endings = {
        "agentcg": Ending("killed", 137, killed=killed),
        "kernel": Ending("oom", 137),
        "call": Ending("declared", 139),
        "caller": Ending("declared", 130, cancelled=True),
        "session": Ending("session-closed", 137),
        "unknown": Ending("declared", 137),
    }
    account = Account(wall_s=5.0, oom_kills=0)
    assert {by: of_call(account, granted(), how)[0].by for by, how in endings.items()} == {
        by: by for by in endings
    }


def test_the_numbers_are_fields_too() -> None:
    """What the text says can be read without parsing it; what is not known is left out."""
    account = Account(
        wall_s=41.0, memory_peak_bytes=GIB, oom_kills=1, throttled_us=2_500_000,
    )  # fmt: skip
    ending = Ending(
        "oom", 137, room_bytes=3 * GIB, limit_bytes=2 * GIB, limit_of="session", frozen_s=4.0
    )
    (one,) = of_call(account, granted(), ending)
    told = msgspec.to_builtins(one)
    del told["text"]
    assert told == {
        "code": "oom-call", "by": "kernel", "signal": 9, "wall_s": 41.0, "throttled_s": 2.5,
        "frozen_s": 4.0, "peak_bytes": GIB, "granted_bytes": 300 * MIB, "limit_bytes": 2 * GIB,
        "limit_of": "session", "declare_bytes": 1280 * MIB, "room_bytes": 3 * GIB,
    }  # fmt: skip


def test_a_need_without_room_is_to_be_waited_for() -> None:
    """Declaring more helps only once it is free: the way on says so."""
    account = Account(wall_s=2.0, memory_peak_bytes=GIB, oom_kills=1)
    ((_, text),) = told(account, Ending("oom", room_bytes=100 * MIB, limit_bytes=4 * GIB))
    assert text.endswith("declare 1.2G and let it wait for room (wait_s): 100M are free now.")


def test_time_held_back_is_told() -> None:
    """A slow end that was not the work's own doing is said to be so; a moment is not."""
    ending = Ending("declared", 0, slowed_s=12.0, frozen_s=30.0, room_bytes=GIB)
    ((code, text),) = told(Account(wall_s=60.0), ending)
    assert code == "held-back"
    assert "agentcg slowed it for 12s and paused it for 30s, because memory was short" in text
    assert told(Account(wall_s=60.0), Ending("declared", 0, slowed_s=0.4))[0][0] == "ok"


def test_time_held_up_where_it_allocated_is_told() -> None:
    """The same of delays for memory, of all its tasks together; less than a second is not told."""
    delayed = Delayed(count=9, total_us=4_200_000, longest_us=900_000, overshoot_bytes=MIB)
    ending = Ending("declared", 0, frozen_s=30.0)
    (feedback,) = of_call(Account(wall_s=60.0, delayed=delayed), granted(), ending)
    assert (feedback.code, feedback.delayed_s) == ("held-back", 4.2)
    assert "paused it for 30s and held it up for 4.2s in all where it allocated" in feedback.text
    short = replace(delayed, total_us=900_000)
    assert told(Account(wall_s=60.0, delayed=short), Ending("declared", 0))[0][0] == "ok"


def test_a_retry_loop_is_told_with_its_sizes() -> None:
    """The second call of a kind in a row that runs out of memory hears that a third will, too."""
    account = Account(wall_s=9.0, memory_peak_bytes=GIB, oom_kills=1)
    once = Ending("oom", 137, category="test", failed=(GIB,))
    assert [code for code, _ in told(account, once)] == ["oom-call"]
    twice = Ending("oom", 137, category="test", failed=(900 * MIB, GIB), limit_bytes=4 * GIB)
    one = of_call(account, granted(), twice)[1]
    assert (one.code, one.attempts, one.declare_bytes) == ("retry-loop", 2, 1280 * MIB)
    assert one.text.startswith("2 test calls in a row ran out of memory (at 900M, 1.0G); the same")


def test_leftovers_that_pile_up_are_told() -> None:
    """Each retry leaves a server running: three of them that hold a lot together are a loop."""
    left = Ending("declared", 0, lingering_processes=1, category="python")
    account = Account(wall_s=1.0, memory_current_bytes=50 * MIB)
    piled = replace(left, leaving=Leaving(3, 150 * MIB))
    lines = told(account, piled)
    assert [code for code, _ in lines] == ["retry-loop", "lingering"]
    assert "3 python calls have left processes running" in lines[0][1]
    assert "150M by now" in lines[0][1]
    assert [code for code, _ in told(account, replace(left, leaving=Leaving(2, GIB)))] == [
        "lingering"
    ]


def test_a_burst_that_outgrew_its_lease_is_told_apart() -> None:
    """Killed neither at the call's limit nor at the host's: room was lent too slowly for it."""
    account = Account(wall_s=2.0, memory_peak_bytes=230 * MIB, oom_kills=1)
    ending = Ending("oom", limit_bytes=8 * GIB, lease_bytes=200 * MIB)
    one = of_call(account, granted(GIB), ending)[0]
    assert (one.limit_of, one.limit_bytes) == ("lease", 200 * MIB)
    assert "(it grew faster than room was found for it: it had 200M then)" in one.text
