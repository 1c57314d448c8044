# SPDX-License-Identifier: Apache-2.0
"""Events and forecasts as what routers and engines take. Data in, data out; nothing is sent.

A session of agentcg is what Dynamo calls a session, Continuum a job and ThunderAgent a program.
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


def continuum(
    session: str, *, tool: str | None = None, command: str | None = None, last: bool = False
) -> dict[str, Any]:
    """Body fields of a request to Continuum (a fork of vLLM). `tool`, `command`: of the call that
    follows the answer, where they are known; Continuum tells calls apart by the first word of the
    command, as it would read it from the answer itself. `last`: no request comes after it."""
    words = (command or "").split()
    called = words[0] if words else tool
    fields: dict[str, Any] = {"job_id": session, "is_last_step": last}
    return fields if called is None else {**fields, "this_func_call": called}


def program(session: str) -> dict[str, str]:
    """Body field of a request through ThunderAgent: the first one with it starts the program."""
    return {"program_id": session}


def intent_of(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """The intent (body of `POST .../intents`) that follows from what ThunderAgent tells of a
    program (`GET /programs`). `reasoning`: the model writes; `paused`: its request is held back
    until there is room for its cache, and the agent does nothing. None: it acts, or is over."""
    if told.get("state") == "paused":
        return {"kind": "idle"}
    if told.get("state") == "active" and told.get("status") == "reasoning":
        return {"kind": "generating"}
    return None


def thunderagent(event: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Path and body to POST to ThunderAgent for an event: a program that is over is released.

    None: it is told nothing of this. It starts programs by their requests (`program`), and
    pauses them itself (`intent_of`)."""
    if event.get("kind") != "session.closed" or not event.get("session"):
        return None
    return "/programs/release", program(str(event["session"]))


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
