# SPDX-License-Identifier: Apache-2.0
"""How `agentcg bench memory-delay` takes what is measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcg.daemon.bench import delay
from agentcg.daemon.bench.figures import Figure
from agentcg.daemon.bench.inversion import Seen, values
from agentcg.daemon.cli.commands.bench import show
from agentcg.errors import BpfError


def test_what_a_writer_waited_for_a_cpu_is_not_a_lock_that_is_held() -> None:
    """A write of 30 ms of which 29 were the turn of others was held up for one; as it was is told,
    too, and a wait that was not within the write makes it nothing, not less."""
    seen = Seen(wrote=[(100.0, 0.0)] * 98 + [(30_000.0, 29_000.0), (50.0, 60.0)], grace=[1.0, 7.0])
    blocked_p99, blocked_max, as_it_was_p99, grace_p50, grace_max = values(seen)
    assert (blocked_p99, blocked_max, as_it_was_p99) == (1000.0, 1000.0, 30_000.0)
    assert (grace_p50, grace_max) == (7.0, 7.0)
    assert values(Seen([(50.0, 60.0)], [1.0]))[1] == 0.0


def test_what_is_cut_off_keeps_what_it_measured(tmp_path: Path) -> None:
    """The figures of each part are shown and written when it is over: a part that fails takes none
    of them with it."""
    out = tmp_path / "out.json"

    def parts() -> Iterator[list[Figure]]:
        yield [Figure("first", "us", None, 1.0)]
        yield [Figure("second", "us", None, 2.0)]
        raise BpfError("the machine went away")

    with pytest.raises(BpfError):
        show(parts(), out)
    names = [one["name"] for one in json.loads(out.read_text())["figures"]]
    assert names == ["first", "second"]


def test_parts_are_chosen_by_their_titles() -> None:
    """Nothing is measured that is not asked for."""
    assert list(delay.run(1.0, print, only="no part is called that")) == []
