# SPDX-License-Identifier: Apache-2.0
"""What a call is granted, on whose word, and with which reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcg.daemon.engine import (
    Admit,
    CallRequest,
    CallView,
    HostView,
    IntentView,
    Refuse,
    SessionView,
    grant,
    renegotiate,
    widen,
)
from agentcg.daemon.messages import Grant, Offer
from agentcg.policies import DEFAULT, Policy, load

GIB = 1 << 30
MIB = 1 << 20
NOW = 1000.0
HOST = HostView(memory_total_bytes=8 * GIB)
SESSION = SessionView(name="s", priority="normal")
PYTEST = CallRequest("Bash", "pytest -q")


def given(
    request: CallRequest = PYTEST,
    *intents: IntentView,
    policy: Policy = DEFAULT,
    host: HostView = HOST,
    session: SessionView = SESSION,
) -> Grant:
    """The grant of a call that is expected to go ahead at once."""
    decision = grant(policy, host, session, request, intents, NOW)
    assert isinstance(decision, Admit)
    return decision.grant


def intent(
    kind: str = "call", declared_at: float = 990.0, expires_at: float = 1100.0, **said: object
) -> IntentView:
    """An intent as it is kept; its id is made from what it says."""
    name = f"{kind}-{said.get('memory_bytes', 0)}"
    return IntentView(
        id=name, session="s", kind=kind, declared_at=declared_at, expires_at=expires_at, **said
    )  # type: ignore[arg-type]


def call(held: int, high: int | None, *, need: int = 100 * MIB, state: str = "running") -> CallView:
    """A call that holds `held` bytes under a `memory_high` of `high`."""
    held_grant = Grant(
        memory_high_bytes=high, memory_max_bytes=None, cpu_weight=100, pids_max=64,
        source="declared", reason="", memory_need_bytes=need,
    )  # fmt: skip
    return CallView("c", "test", state, 990.0, held_grant, held)  # type: ignore[arg-type]


# --- On whose word ---


def test_without_a_word_the_default_decides() -> None:
    """A test call is assumed to need 250M and is slowed beyond half of what there is."""
    got = given()
    assert (got.source, got.memory_need_bytes, got.memory_high_bytes) == (
        "default", 250 * MIB, 4 * GIB,
    )  # fmt: skip
    assert got.reason == "250M assumed for a test call; slowed beyond 4.0G"
    assert got.rule is not None
    assert got.rule.startswith("default.yaml:")


@pytest.mark.parametrize(
    ("command", "kind"),
    [("pip install x", "an install call"), ("frobnicate", "a call of no known kind")],
)
def test_the_reason_names_the_kind_of_call(command: str, kind: str) -> None:
    """In words that can be read."""
    assert f"assumed for {kind};" in given(CallRequest("Bash", command)).reason


def test_a_sites_rule_goes_before_the_default(tmp_path: Path) -> None:
    """The grant names the line of the rule that decided."""
    (tmp_path / "site.yaml").write_text(
        "version: 1\ncalls:\n- match: {category: test}\n  memory: 1G\n  memory_high: 2G\n"
    )
    got = given(policy=load(tmp_path))
    assert (got.source, got.memory_need_bytes, got.memory_high_bytes) == ("policy", GIB, 2 * GIB)
    assert got.rule == "site.yaml:5"


def test_an_intent_goes_before_the_policy() -> None:
    """What was announced is the need, and the limit lies the margin above it."""
    got = given(PYTEST, intent(memory_bytes=600 * MIB))
    assert (got.source, got.memory_need_bytes, got.memory_high_bytes) == (
        "intent", 600 * MIB, 900 * MIB,
    )  # fmt: skip


def test_a_declaration_goes_before_an_intent() -> None:
    """The call itself knows best; the intent is used up all the same."""
    request = CallRequest("Bash", "pytest -q", memory_bytes=200 * MIB)
    announced = intent(memory_bytes=600 * MIB)
    decision = grant(DEFAULT, HOST, SESSION, request, [announced], NOW)
    assert isinstance(decision, Admit)
    assert (decision.grant.source, decision.grant.memory_high_bytes) == ("declared", 300 * MIB)
    assert decision.intent == announced.id


def test_an_unsure_intent_gets_a_wider_margin() -> None:
    """Confidence 1 leaves the margin at 1.5, confidence 0 doubles it."""
    highs = [
        given(PYTEST, intent(memory_bytes=100 * MIB, confidence=confidence)).memory_high_bytes
        for confidence in (None, 1.0, 0.5, 0.0)
    ]
    assert highs == [150 * MIB, 150 * MIB, 225 * MIB, 300 * MIB]


@pytest.mark.parametrize(
    "other",
    [
        intent(memory_bytes=GIB, expires_at=NOW),
        intent(memory_bytes=GIB, tool="Read"),
        intent(memory_bytes=GIB, command="pytest"),
        intent(memory_bytes=GIB, category="build"),
        intent("idle", memory_bytes=GIB),
    ],
    ids=["expired", "tool", "command", "category", "kind"],
)
def test_an_intent_for_something_else_is_not_followed(other: IntentView) -> None:
    """What an intent names must be the same, and it must hold still."""
    assert given(PYTEST, other).source == "default"


def test_the_most_specific_and_latest_intent_is_followed() -> None:
    """Command before tool before category before nothing; among equals the latest."""
    intents = [
        intent(memory_bytes=1 * MIB),
        intent(memory_bytes=2 * MIB, category="test", declared_at=995),
        intent(memory_bytes=3 * MIB, tool="Bash"),
        intent(memory_bytes=4 * MIB, command="pytest -q", declared_at=991),
        intent(memory_bytes=5 * MIB, command="pytest -q", declared_at=992),
    ]
    for last in (5, 4, 3, 2, 1):
        assert given(PYTEST, *intents[:last]).memory_need_bytes == last * MIB
        assert given(PYTEST, *reversed(intents[:last])).memory_need_bytes == last * MIB


def test_a_refused_intent_is_followed_by_name_alone() -> None:
    """Who was told that it never fits does something else next; or that very command, after all."""
    no = Offer(state="refused", reason="")
    assert given(PYTEST, intent(memory_bytes=GIB, offer=no)).source == "default"
    assert given(PYTEST, intent(memory_bytes=GIB, tool="Bash", offer=no)).source == "default"
    named = intent(memory_bytes=GIB, command="pytest -q", offer=no)
    assert given(PYTEST, named).memory_need_bytes == GIB


def test_a_release_takes_back_what_was_said_before() -> None:
    """Intents before the latest release are void, later ones hold."""
    before, after = (
        intent(memory_bytes=GIB, declared_at=990),
        intent(memory_bytes=2 * GIB, declared_at=999),
    )
    release = intent("release", declared_at=995)
    assert given(PYTEST, before, release).source == "default"
    assert given(PYTEST, before, release, after).memory_need_bytes == 2 * GIB


# --- Bounds ---


def test_nobody_is_granted_more_than_there_is() -> None:
    """Need and limits end at what the session, the host's bound or a rule allows."""
    request = CallRequest("Bash", memory_bytes=100 * GIB)
    got = given(request)
    assert (got.memory_need_bytes, got.memory_high_bytes) == (8 * GIB, 8 * GIB)
    small = SessionView(name="s", priority="normal", memory_max_bytes=GIB)
    got = given(request, session=small)
    assert (got.memory_need_bytes, got.memory_high_bytes) == (GIB, GIB)
    assert "100G declared, of which it may have 1.0G" in got.reason


def test_a_rules_maximum_is_the_operators_word(tmp_path: Path) -> None:
    """A declaration does not lift memory_max; the throttle limit stays within it."""
    (tmp_path / "site.yaml").write_text("version: 1\ncalls:\n- memory_max: 1G\n")
    got = given(CallRequest("Bash", memory_bytes=4 * GIB), policy=load(tmp_path))
    assert (got.memory_high_bytes, got.memory_max_bytes) == (GIB, GIB)
    assert got.reason.endswith("slowed beyond 1.0G; killed beyond 1.0G")


@pytest.mark.parametrize(
    ("cpu", "weight"), [(None, 100), ("low", 25), ("normal", 100), ("high", 400)]
)
def test_the_cpu_level_scales_the_weight(cpu: str | None, weight: int) -> None:
    """Each level is four times the one below it, within the session."""
    assert given(CallRequest("Bash", cpu=cpu)).cpu_weight == weight  # type: ignore[arg-type]


def test_a_session_with_all_its_calls_running_gets_no_more() -> None:
    """The policy's max_calls refuses with both numbers; lingering calls do not count."""
    full = SessionView("s", "high", max_calls=2, calls=(call(0, None), call(0, None)))
    decision = grant(DEFAULT, HOST, full, PYTEST, (), NOW)
    assert isinstance(decision, Refuse)
    assert "2 calls running and its policy allows 2" in decision.reason
    lingering = (call(0, None), call(0, None, state="lingering"))
    assert given(session=SessionView("s", "high", max_calls=2, calls=lingering))


# --- While it runs ---


def test_renegotiating_changes_only_what_is_declared_anew() -> None:
    """A new CPU level leaves the memory, a new need leaves the weight."""
    running = call(10 * MIB, 150 * MIB)
    louder = renegotiate(DEFAULT, HOST, SESSION, running, CallRequest("Bash", cpu="high"))
    assert (louder.cpu_weight, louder.memory_high_bytes) == (400, 150 * MIB)
    larger = renegotiate(DEFAULT, HOST, SESSION, running, CallRequest("Bash", memory_bytes=GIB))
    assert (larger.cpu_weight, larger.memory_high_bytes) == (100, 1536 * MIB)
    assert (larger.source, larger.memory_need_bytes) == ("declared", GIB)


def test_growth_ends_at_the_room_except_for_high_priority() -> None:
    """A low session's call grows by what is free, a high one's as it says."""
    running = call(100 * MIB, 150 * MIB, need=100 * MIB)
    host = HostView(GIB, committed_bytes=GIB - 100 * MIB, calls_running=2)
    request = CallRequest("Bash", memory_bytes=400 * MIB)
    low = renegotiate(DEFAULT, host, SESSION, running, request)
    assert low.memory_high_bytes == 200 * MIB
    assert low.reason.endswith("there is room for 200M only")
    high = SessionView("s", "high")
    assert renegotiate(DEFAULT, host, high, running, request).memory_high_bytes == 600 * MIB


def test_a_smaller_need_does_not_stall_what_is_held_already() -> None:
    """The limit never falls below what the call holds."""
    smaller = renegotiate(
        DEFAULT, HOST, SESSION, call(300 * MIB, GIB), CallRequest("Bash", memory_bytes=100 * MIB)
    )
    assert smaller.memory_high_bytes == 300 * MIB
    assert smaller.reason.endswith("it holds 300M already")


def test_a_call_at_its_limit_is_widened_while_there_is_room() -> None:
    """A need declared too small does not stall a call on an idle host; it grows by half."""
    wider = widen(HOST, SESSION, call(98 * MIB, 100 * MIB))
    assert wider is not None
    assert wider.memory_high_bytes == 150 * MIB
    assert "98M of 100M" in wider.reason


@pytest.mark.parametrize(
    ("host", "running"),
    [
        (HOST, call(50 * MIB, 100 * MIB)),
        (HOST, call(100 * MIB, None)),
        (HOST, call(100 * MIB, 100 * MIB, state="lingering")),
        (HOST, call(8 * GIB, 8 * GIB)),
        (HostView(GIB, committed_bytes=GIB, calls_running=1), call(100 * MIB, 100 * MIB)),
    ],
    ids=["not there", "no limit", "ended", "has all", "no room"],
)
def test_what_is_not_widened(host: HostView, running: CallView) -> None:
    """No widening without need, without room, or beyond what there is."""
    assert widen(host, SESSION, running) is None


def test_widening_keeps_within_the_kill_limit() -> None:
    """memory_high never passes memory_max."""
    running = call(100 * MIB, 100 * MIB)
    capped = CallView(
        "c", "test", "running", 0.0,
        Grant(memory_high_bytes=100 * MIB, memory_max_bytes=120 * MIB, cpu_weight=100,
              pids_max=None, source="policy", reason=""),
        running.held_bytes,
    )  # fmt: skip
    wider = widen(HOST, SESSION, capped)
    assert wider is not None
    assert wider.memory_high_bytes == 120 * MIB
