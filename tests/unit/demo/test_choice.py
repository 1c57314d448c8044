# SPDX-License-Identifier: Apache-2.0
"""Which agents `make run` shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcg.daemon.replay.sources import find
from agentcg.errors import TraceError
from demo.choice import GENERATED, MIB, Shape, choose_three, from_recordings, limit_bytes

SHAPES = {
    "middling": Shape(400, 390, 425, 200, 600),
    "hungry-early": Shape(500, 100, 900, 300, 1500),
    "hungrier-but-late": Shape(500, 450, 2000, 300, 1900),
    "hungrier-but-short": Shape(100, 50, 2000, 300, 1900),
    "hungrier-but-restless": Shape(500, 100, 1000, 300, 8000),
    "no-agent": Shape(400, 100, 90, 20, 100),
    "peckish-early": Shape(700, 199, 500, 250, 700),
    "modest-early": Shape(350, 10, 300, 200, 300),
}


def test_the_hungriest_with_an_early_peak_is_chosen() -> None:
    """Peaks that come late, or in runs of another length, do not lead to contention."""
    assert choose_three(SHAPES) == ("middling", "hungry-early", "modest-early")


def test_the_peak_of_the_high_one_fits_in_where_it_can() -> None:
    """Of agents that nobody could make room for the one of high priority is none."""
    shapes = SHAPES | {
        "middling": Shape(400, 390, 425, 200, 600),
        "hungry-early": Shape(500, 100, 500, 200, 1500),
        "thrifty": Shape(400, 300, 310, 250, 300),
    }
    assert choose_three(shapes)[0] == "thrifty"


def test_any_three_will_do_where_there_is_no_better_choice() -> None:
    """A directory of three short recordings with late peaks is played all the same."""
    shapes = {
        name: Shape(90, 80, peak, 50, 400) for name, peak in (("a", 400), ("b", 900), ("c", 9))
    }
    assert choose_three(shapes) == ("a", "b", "c")


def test_restless_ones_are_played_where_there_are_no_others() -> None:
    """It may take longer then, but what was asked for is shown."""
    shapes = {name: Shape(400, 100, 500, 300, churn) for name, churn in (("a", 9e3), ("b", 5e3))}
    shapes |= {"c": Shape(400, 100, 600, 300, 4e3), "calm": Shape(90, 80, 400, 50, 300)}
    assert set(choose_three(shapes)) == {"b", "c", "calm"}


def test_fewer_than_three_are_an_error_with_a_way_on(tmp_path: Path) -> None:
    """TRACES=DIR without recordings in it is told, not replaced by something else."""
    with pytest.raises(TraceError, match=r"there are 2 recordings .* without TRACES="):
        choose_three({name: SHAPES[name] for name in ("middling", "hungry-early")})
    with pytest.raises(TraceError, match="there are 0 recordings"):
        from_recordings(tmp_path)


def test_the_limit_is_below_what_they_need_together() -> None:
    """At the hungriest's peak something has to give, but the agents themselves fit."""
    high, hungry, modest = (SHAPES[name] for name in choose_three(SHAPES))
    limit = limit_bytes(high, hungry, modest)
    assert limit < (hungry.peak_mib + high.usual_mib + modest.usual_mib) * MIB
    assert limit > (hungry.usual_mib + high.usual_mib + modest.usual_mib) * MIB


def test_the_generated_agents_follow_the_same_rules() -> None:
    """The seeds that are played without TRACES= would be chosen for these roles."""
    shapes = {name: Shape.of(find(name)) for name in GENERATED}
    assert choose_three(shapes) == GENERATED
