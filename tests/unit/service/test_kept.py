# SPDX-License-Identifier: Apache-2.0
"""What is kept of many, and who loses when there is too much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.service.kept import Kept, Source, shares


@given(st.dictionaries(st.integers(), st.integers(0, 50), min_size=1), st.integers(0, 200))
def test_shares_are_fair(sizes: dict[int, int], total: int) -> None:
    """Nobody gets more than he has, all that can be is given, and who is cut has (but for the
    remainder) no less than anybody else."""
    given_ = shares(sizes, total)
    assert all(0 <= given_[who] <= size for who, size in sizes.items())
    assert sum(given_.values()) == min(total, sum(sizes.values()))
    cut = [given_[who] for who, size in sizes.items() if given_[who] < size]
    assert not cut or max(given_.values()) <= min(cut) + 1


SOURCES = st.tuples(st.sampled_from([None, 1, 2]), st.sampled_from([None, "a", "b", "c"]))


@given(st.lists(SOURCES, max_size=200))
def test_bounds_hold_and_every_drop_is_told(added: list[Source]) -> None:
    """Of each source the latest are kept, in order; what is missing was told as dropped."""
    dropped: list[tuple[Source, int]] = []
    kept: Kept[int, Source] = Kept(
        each=5, total=20, dropped=lambda source, key: dropped.append((source, key))
    )
    for key, source in enumerate(added):
        kept.add(source, key, source)
    there = [key for key in range(len(added)) if kept.get(key) is not None]
    assert len(there) == len(kept) <= 20
    assert sorted([*there, *(key for _, key in dropped)]) == list(range(len(added)))
    assert [*reversed(kept)] == [added[key] for key in reversed(there)]
    for source in set(added):
        keys = [key for key, other in enumerate(added) if other == source]
        mine = [key for key in there if added[key] == source]
        assert len(mine) <= 5
        assert mine == keys[len(keys) - len(mine) :]


def test_a_flood_drops_its_own() -> None:
    """A user with a few items keeps them, whatever another one adds in however many sessions."""
    kept: Kept[int, str] = Kept(each=10, total=40)
    for key in range(5):
        kept.add((7, "quiet"), key, "quiet")
    for key in range(100, 1100):
        kept.add((8, f"noisy{key % 50}"), key, "noisy")
    assert [kept.get(key) for key in range(5)] == 5 * ["quiet"]
    assert 30 < len(kept) <= 40
