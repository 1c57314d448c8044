# SPDX-License-Identifier: Apache-2.0
"""Protection is shared out without promising more than there is."""

from __future__ import annotations

from dataclasses import replace

from agentcg.daemon.engine import Protection, protect, wanted
from agentcg.policies import DEFAULT, SessionFacts

GIB = 1 << 30
MIB = 1 << 20
RULE = DEFAULT.session(SessionFacts("s", 0, 2 * GIB, asked_priority="low"))


def test_protection_of_a_session_covers_its_agent() -> None:
    """A runtime leaf is protected only inside its session's protection."""
    assert wanted("s", RULE).wanted_bytes == 100 * MIB
    assert wanted("s", replace(RULE, memory_low=300 * MIB)).wanted_bytes == 300 * MIB


def test_high_priority_is_protected_first() -> None:
    """What is left goes to normal and then to low, in proportion to what they want."""
    sessions = [
        Protection("low-a", "low", 300),
        Protection("low-b", "low", 100),
        Protection("high", "high", 500),
        Protection("normal", "normal", 300),
    ]
    assert protect(sessions, 2000) == {"high": 500, "normal": 300, "low-a": 300, "low-b": 100}
    assert protect(sessions, 1000) == {"high": 500, "normal": 300, "low-a": 150, "low-b": 50}
    assert protect(sessions, 600) == {"high": 500, "normal": 100, "low-a": 0, "low-b": 0}
    assert protect(sessions, 250) == {"high": 250, "normal": 0, "low-a": 0, "low-b": 0}
    assert protect([], 100) == {}
