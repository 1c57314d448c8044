# SPDX-License-Identifier: Apache-2.0
"""What is said to the model by way of a hook.

Never a decision about a permission: that is the user's and the client's. An answer has a text for
the model or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentcg.daemon.hooks.read import Event
from agentcg.daemon.messages import Feedback, HookAnswer, HookOutput

TEXT_MAX_CHARS = 2000
WAITED_TOLD_S = 1.0  # a shorter wait is nothing that a model could act on
_HEARD = frozenset(
    {"SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "PostToolUseFailure"}
)
"""Events whose `additionalContext` reaches the model."""


def say(event: Event, feedback: Sequence[Feedback]) -> HookAnswer | None:
    """The answer to a hook; None if there is nothing to say, or nobody who would hear it."""
    texts = [one.text for one in feedback if _matters(one)]
    if not texts or event.name not in _HEARD:
        return None
    text = f"agentcg: {' '.join(texts)}"[:TEXT_MAX_CHARS]
    if event.flat:
        return HookAnswer(additional_context=text)
    output = HookOutput(hook_event_name=event.name, additional_context=text)
    return HookAnswer(hook_specific_output=output)


def _matters(one: Feedback) -> bool:
    return one.code != "ok" and not (one.code == "waited" and (one.waited_s or 0) < WAITED_TOLD_S)


def refused(reason: str, remedy: str) -> Feedback:
    """A call that may not begin; it runs all the same, outside of any grant."""
    way_on = f"; {remedy}" if remedy else ""
    return Feedback(
        code="no-room",
        text=f"This command has no grant: {reason}{way_on}. Consider splitting it, or running it "
        "later.",
    )
