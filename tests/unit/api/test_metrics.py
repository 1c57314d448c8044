# SPDX-License-Identifier: Apache-2.0
"""What the scheduler counts of sessions, for Prometheus."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from agentcg.daemon.api.bounds import METRICS_SESSIONS_MAX
from agentcg.daemon.api.metrics import SessionFigures
from agentcg.daemon.messages import Delayed, Scheduled
from agentcg.daemon.service.accounts.counts import Counted, Counts
from agentcg.daemon.service.host.peers import Peer

RAN = Scheduled(run_us=1_200_000, wait_us=300_000, waits=4, longest_wait_us=200_000, boosts=14)
HELD = Delayed(count=3, total_us=410_000, longest_us=200_000, overshoot_bytes=12 << 20)
ROOT = Peer(uid=0, pid=1, admin=True, locate=lambda: None)


def a_session(name: str, counted: Counted, uid: int = 1000) -> Any:
    return SimpleNamespace(
        name=name,
        uid=uid,
        cgroup=SimpleNamespace(path=f"/sys/fs/cgroup/{name}"),
        runtime=SimpleNamespace(id=1),
        calls={},
        counted=counted,
    )


def scrape(sessions: list[Any], peer: Peer = ROOT) -> list[str]:
    """The lines with figures."""
    core: Any = SimpleNamespace(
        counts=Counts(), registry=SimpleNamespace(sessions={one.name: one for one in sessions})
    )
    registry = CollectorRegistry()
    registry.register(SessionFigures(core, peer))
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#") and "_created" not in line]


def test_a_line_for_each_session() -> None:
    """Run and wait time, boosts, delays and overshoot, in Prometheus's units."""
    assert scrape([a_session("reviewer", Counted(RAN, HELD))]) == [
        'agentcg_session_cpu_run_seconds_total{session="reviewer"} 1.2',
        'agentcg_session_cpu_wait_seconds_total{session="reviewer"} 0.3',
        'agentcg_session_cpu_waits_total{session="reviewer"} 4.0',
        'agentcg_session_cpu_wait_longest_seconds{session="reviewer"} 0.2',
        'agentcg_session_boosts_total{session="reviewer"} 14.0',
        'agentcg_session_memory_delays_total{session="reviewer"} 3.0',
        'agentcg_session_memory_delay_seconds_total{session="reviewer"} 0.41',
        'agentcg_session_memory_delay_longest_seconds{session="reviewer"} 0.2',
        'agentcg_session_memory_overshoot_bytes{session="reviewer"} 1.2582912e+07',
    ]


def test_what_nothing_counts_has_no_line() -> None:
    """Without the scheduler there are no figures, and no names of sessions; without delay none
    of it."""
    assert scrape([a_session("reviewer", Counted())]) == []
    assert not any("memory" in line for line in scrape([a_session("ci", Counted(RAN, None))]))


def test_others_sessions_are_not_shown() -> None:
    """Who may not see a session does not learn its name here either."""
    sessions = [a_session("mine", Counted(RAN)), a_session("theirs", Counted(RAN), uid=1001)]
    lines = scrape(sessions, Peer(uid=1000, pid=1, admin=False, locate=lambda: None))
    assert lines
    assert all('session="mine"' in line for line in lines)


def test_the_number_of_sessions_is_bounded() -> None:
    """Those opened first have figures of their own, the others none."""
    sessions = [a_session(f"s{n}", Counted(RAN)) for n in range(METRICS_SESSIONS_MAX + 9)]
    lines = [line for line in scrape(sessions) if "boosts" in line]
    assert len(lines) == METRICS_SESSIONS_MAX
    assert 'session="s0"' in lines[0]
