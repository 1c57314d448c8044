# SPDX-License-Identifier: Apache-2.0
"""Figures for Prometheus. Labels take few values, never a name that a client chose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agentcg.cgroups.knobs import MEMORY_CURRENT
from agentcg.daemon.api.exchange import Exchange, Result
from agentcg.daemon.service.service import Service

_HEADERS = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}


async def scrape(x: Exchange) -> Result:
    """All figures as they are now."""
    registry = CollectorRegistry()
    registry.register(_Figures(x.service))
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
