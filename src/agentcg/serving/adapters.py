# SPDX-License-Identifier: Apache-2.0
"""Events and forecasts as what routers and engines take. Data in, data out; nothing is sent.

A session of agentcg is what Dynamo calls a session and ThunderAgent a program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentcg.serving.ttl import Costs, quantiles_of, time_to_live

SOON_S = 2.0
"""A call that is over so soon (90%) is worth prefilling for."""
_PRIORITIES = {"high": 10, "normal": 5, "low": 0}


def dynamo(
    session: str, *, priority: str = "normal", forecast: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """Headers and body fields of a request to NVIDIA Dynamo: its session header, and
    `nvext.agent_hints` (`priority`; `speculative_prefill` where the next turn comes soon)."""
    hints: dict[str, Any] = {"priority": _PRIORITIES.get(priority, _PRIORITIES["normal"])}
    if forecast is not None:
        hints["speculative_prefill"] = quantiles_of(forecast).p90 <= SOON_S
    return {
        "headers": {"X-Dynamo-Session-ID": session},
        "body": {"nvext": {"agent_hints": hints}},
    }


def thunderagent(event: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Path and body to POST to ThunderAgent for an event: a program that is over is released.

    None: it is told nothing of this; starts and pauses it sees by the requests themselves."""
    if event.get("kind") != "session.closed" or not event.get("session"):
        return None
    return "/programs/release", {"program_id": str(event["session"])}


def webhook(event: Mapping[str, Any], costs: Costs | None = None) -> dict[str, Any] | None:
    """A body for anybody: what happened, and for a call that has begun how long it takes and, with
    `costs`, for how long its program's KV cache is worth keeping (`kv_ttl_s`). None for events
    that do not concern a serving layer."""
    kind = event.get("kind")
    if kind not in {
        "session.opened", "session.closed", "call.begun", "call.ended", "call.frozen",
        "call.thawed", "call.killed", "phase.changed",
    }:  # fmt: skip
        return None
    body = {"event": kind, "time": event.get("time"), "program": event.get("session")}
    if event.get("call"):
        body["call"] = event["call"]
    if kind == "phase.changed":
        body["text"] = event.get("text", "")
    foreseen = event.get("foreseen")
    if kind == "call.begun" and foreseen:
        body["duration_s"] = dict(foreseen["duration_s"])
        if costs is not None:
            body["kv_ttl_s"] = time_to_live(quantiles_of(foreseen), costs)
    return body
