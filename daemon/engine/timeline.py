# SPDX-License-Identifier: Apache-2.0
"""How long a call was held back, from what was done to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from agentcg.daemon.messages import Action, ActionKind

BY_HAND = "by hand"
"""The rule of what people do; it holds a call beside the ladder's."""

_LEADS_TO: dict[ActionKind, str | None] = {
    "throttle": "slowed",
    "freeze": "frozen",
    "thaw": "slowed",  # until its limits are its own again
    "unthrottle": None,
    "kill": None,
}


class HeldBack(NamedTuple):
    """For how many seconds, and how."""

    slowed_s: float
    frozen_s: float  # for memory; by people, too, or not
    by_hand_s: float  # frozen by people alone


def held_back(actions: Iterable[Action], until: float) -> HeldBack:
    """What `actions` did to one call up to `until`.

    What both the ladder and people froze is frozen until both have let go.
    """
    spent = {"slowed": 0.0, "frozen": 0.0, "by hand": 0.0}
    by_ladder: str | None = None
    by_hand, since = False, until
    for action in actions:
        if action.kind not in _LEADS_TO:
            continue
        if (state := _state(by_ladder, by_hand)) is not None:
            spent[state] += max(0.0, min(action.time, until) - since)
        since = action.time
        if action.rule == BY_HAND or action.kind == "kill":
            by_hand = action.kind == "freeze"
        if action.rule != BY_HAND or action.kind == "kill":
            by_ladder = _LEADS_TO[action.kind]
    if (state := _state(by_ladder, by_hand)) is not None:
        spent[state] += max(0.0, until - since)
    return HeldBack(*spent.values())


def _state(by_ladder: str | None, by_hand: bool) -> str | None:
    return "by hand" if by_hand and by_ladder != "frozen" else by_ladder
