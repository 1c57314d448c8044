# SPDX-License-Identifier: Apache-2.0
"""How long a call was held back, from what was done to it."""

from __future__ import annotations

from collections.abc import Iterable

from agentcg.daemon.messages import Action, ActionKind

_LEADS_TO: dict[ActionKind, str | None] = {
    "throttle": "slowed",
    "freeze": "frozen",
    "thaw": "slowed",  # until its limits are its own again
    "unthrottle": None,
    "kill": None,
}


def held_back_s(actions: Iterable[Action], until: float) -> tuple[float, float]:
    """Seconds for which one call was slowed, and frozen, by `actions` up to `until`."""
    spent = {"slowed": 0.0, "frozen": 0.0}
    state: str | None = None
    since = until
    for action in actions:
        if action.kind not in _LEADS_TO:
            continue
        if state is not None:
            spent[state] += max(0.0, min(action.time, until) - since)
        state, since = _LEADS_TO[action.kind], action.time
    if state is not None:
        spent[state] += max(0.0, until - since)
    return spent["slowed"], spent["frozen"]
