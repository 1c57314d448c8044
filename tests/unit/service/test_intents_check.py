# SPDX-License-Identifier: Apache-2.0
"""What an intent may not say, by field."""

from __future__ import annotations

import pytest

from agentcg.daemon.messages import DeclareIntent, Intent, SecondsQuantiles, SizeQuantiles
from agentcg.daemon.service.intents.check import check, check_order
from agentcg.errors import InvalidInput

MIB = 1 << 20
FALLING = SecondsQuantiles(p50=2.0, p90=1.0, p99=3.0)
SIZES = SizeQuantiles(p50=MIB, p90=3 * MIB, p99=2 * MIB)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"duration_quantiles": FALLING}, "duration_quantiles.p90"),
        ({"memory_quantiles": SIZES}, "memory_quantiles.p99"),
        (
            {"memory_bytes": MIB, "memory_quantiles": SizeQuantiles(p50=MIB, p90=MIB, p99=MIB)},
            "memory_quantiles",
        ),
        ({"start_in_s": 5.0, "duration_s": 6.0, "deadline_s": 10.0}, "deadline_s"),
    ],
    ids=["falling times", "falling sizes", "a value and a spread", "a deadline before its end"],
)
def test_what_contradicts_itself_is_refused(said: dict[str, object], field: str) -> None:
    """The error names the field."""
    with pytest.raises(InvalidInput) as caught:
        check(DeclareIntent(kind="call", **said))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_intents_cannot_come_after_themselves() -> None:
    """A circle over three of them is found."""
    one, two, three = (
        Intent(id=name, session="s", kind="call", declared_at=0.0, expires_at=9.0, after=[after])
        for name, after in (("a", "b"), ("b", "c"), ("c", "a"))
    )
    with pytest.raises(InvalidInput, match="circle"):
        check_order(one, [one, two, three])
    check_order(two, [two, three])
