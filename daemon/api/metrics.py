# SPDX-License-Identifier: Apache-2.0
"""Figures for Prometheus.

Labels take few values. Names of sessions are labels only of what the scheduler counts for each,
for those who may see the session, and of 256 sessions at most; calls are never labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agentcg.cgroups.knobs import MEMORY_CURRENT
from agentcg.daemon.api.bounds import METRICS_SESSIONS_MAX
from agentcg.daemon.api.exchange import Exchange, Result
from agentcg.daemon.messages import Delayed, Scheduled
from agentcg.daemon.service.accounts import totals
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.host.peers import Peer, may_act
from agentcg.daemon.service.service import Service
from agentcg.daemon.service.state import LiveSession

_HEADERS = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}


async def scrape(x: Exchange) -> Result:
    """All figures as they are now."""
    registry = CollectorRegistry()
    registry.register(_Figures(x.service))
    registry.register(SessionFigures(x.service.core, x.peer))
    return web.Response(body=generate_latest(registry), headers=_HEADERS)


class _Figures(Collector):
    """Read from the service at each scrape; nothing is counted twice."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        yield from self._state()
        yield from self._totals()

    def _state(self) -> Iterator[Metric]:
        core = self._service.core
        registry = core.registry
        by_phase = Counter((s.record.priority, s.phase) for s in registry.sessions.values())
        sessions = GaugeMetricFamily(
            "agentcg_sessions", "Open sessions", labels=["priority", "phase"]
        )
        for labels, count in by_phase.items():
            sessions.add_metric(labels, count)
        yield sessions
        calls = GaugeMetricFamily("agentcg_calls", "Calls that have a cgroup", labels=["state"])
        calls.add_metric(["running"], registry.calls_running)
        calls.add_metric(["lingering"], len(registry.calls) - registry.calls_running)
        yield calls
        used, bound = core.root.cgroup.get(MEMORY_CURRENT), core.memory_max_bytes()
        for name, text, value in (
            ("memory_bytes", "Memory of all sessions together", used),
            ("memory_max_bytes", "Bound over all sessions", bound),
            ("memory_committed_bytes", "Held by or promised to sessions", registry.committed_bytes),
            ("accounting_by_bpf", "1 with BPF, 0 without", int(core.tracking.state == "bpf")),
            ("policy_in_force", "0 while a newer policy is refused", int(not core.policy.error)),
            (
                "scheduler_loaded",
                "1 where agentcg's CPU scheduler is in charge, 0: the kernel's",
                int(self._service.scheduling.state == "loaded"),
            ),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"agentcg_{name}", text, value=value)

    def _totals(self) -> Iterator[Metric]:
        core = self._service.core
        yield CounterMetricFamily(
            "agentcg_calls_begun", "Calls begun on this root", value=core.registry.calls_total
        )
        ended = CounterMetricFamily(
            "agentcg_calls_ended", "Calls ended since the start", labels=["reason"]
        )
        for reason, count in core.registry.ends.items():
            ended.add_metric([reason], count)
        yield ended
        yield CounterMetricFamily(
            "agentcg_events_lost", "BPF events lost", value=core.tracking.events_lost
        )
        if (history := core.history.health()) is not None:
            yield CounterMetricFamily(
                "agentcg_history_lost", "Ended calls not written to disk", value=history.lost
            )


class _Family(NamedTuple):
    """Figures of one name, one of each session: `value` of what was counted of it."""

    kind: type[CounterMetricFamily | GaugeMetricFamily]
    name: str
    text: str
    value: Callable[[Any], float]


_SCHEDULED = (
    _Family(CounterMetricFamily, "cpu_run_seconds", "Time on CPUs", lambda s: s.run_us / 1e6),
    _Family(
        CounterMetricFamily, "cpu_wait_seconds", "Tasks waited for a CPU", lambda s: s.wait_us / 1e6
    ),
    _Family(CounterMetricFamily, "cpu_waits", "Times that a task waited", lambda s: s.waits),
    _Family(
        GaugeMetricFamily, "cpu_wait_longest_seconds", "The longest of them",
        lambda s: s.longest_wait_us / 1e6,
    ),
    _Family(CounterMetricFamily, "boosts", "Times it went ahead of its turn", lambda s: s.boosts),
)  # fmt: skip
_DELAYED = (
    _Family(
        CounterMetricFamily, "memory_delays", "Times a task was held up over a lease",
        lambda d: d.count,
    ),
    _Family(
        CounterMetricFamily, "memory_delay_seconds", "For so long", lambda d: d.total_us / 1e6
    ),
    _Family(
        GaugeMetricFamily, "memory_delay_longest_seconds", "The longest of them",
        lambda d: d.longest_us / 1e6,
    ),
    _Family(
        GaugeMetricFamily, "memory_overshoot_bytes", "The most over a lease when a charger waited",
        lambda d: d.overshoot_bytes,
    ),
)  # fmt: skip


class SessionFigures(Collector):
    """What the scheduler and memory delay counted of each session until the latest look.

    Of the sessions that `peer` may see, the ones opened first; nothing is read from the kernel.
    """

    def __init__(self, core: Core, peer: Peer) -> None:
        self._core = core
        self._peer = peer

    def collect(self) -> Iterator[Metric]:
        """One family after another, each with its sessions; none where nothing counts."""
        counted = {
            session.name: totals.counted(session, self._core.counts) for session in self._seen()
        }
        scheduled = {name: c.scheduled for name, c in counted.items() if c.scheduled is not None}
        delayed = {name: c.delayed for name, c in counted.items() if c.delayed is not None}
        yield from _of_each(_SCHEDULED, scheduled)
        yield from _of_each(_DELAYED, delayed)

    def _seen(self) -> Iterator[LiveSession]:
        seen = (
            session
            for session in self._core.registry.sessions.values()
            if may_act(self._peer, session.uid, str(session.cgroup.path))
        )
        return islice(seen, METRICS_SESSIONS_MAX)


def _of_each(
    families: tuple[_Family, ...], counted: Mapping[str, Scheduled | Delayed]
) -> Iterator[Metric]:
    for family in families if counted else ():
        figures = family.kind(f"agentcg_session_{family.name}", family.text, labels=["session"])
        for name, values in counted.items():
            figures.add_metric([name], family.value(values))
        yield figures
