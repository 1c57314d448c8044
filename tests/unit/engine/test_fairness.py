# SPDX-License-Identifier: Apache-2.0
"""Shares of CPU and of bounds among sessions of several users and tenants."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.engine import Owner
from agentcg.daemon.engine.fairness import Contender, cpu_weights, split

ALICE, BOB = Owner("user", 1), Owner("user", 2)
ACME = Owner("tenant", "acme")


def of(owner: Owner, *names: str, claim: float = 100, active: bool = True) -> list[Contender]:
    """Sessions of normal priority."""
    return [Contender(name, "normal", claim, (owner,), active) for name in names]


def test_ten_sessions_have_what_one_has() -> None:
    """Alice with ten sessions at work gets as much as Bob with one, and Bob what his claim says."""
    names = [f"a{number}" for number in range(10)]
    found = cpu_weights([*of(ALICE, *names), *of(BOB, "b")], {})
    assert found == dict.fromkeys(names, 10) | {"b": 100}


def test_only_sessions_at_work_count() -> None:
    """A session that waits for its model takes nothing from its user's others."""
    found = cpu_weights([*of(ALICE, "a"), *of(ALICE, "a2", active=False), *of(BOB, "b")], {})
    assert found == {"a": 100, "a2": 100, "b": 100}


def test_alone_a_user_is_not_touched() -> None:
    """With nobody to share with the weights are the policy's, whatever their number."""
    many = [*of(ALICE, "a", "b", "c"), *of(ALICE, "d", claim=300)]
    assert cpu_weights(many, {ALICE: 7}) == {"a": 100, "b": 100, "c": 100, "d": 300}


def test_weights_of_users_and_sessions() -> None:
    """Between users by the users' weights, inside a user by the sessions' own."""
    found = cpu_weights([*of(ALICE, "a"), *of(BOB, "b"), *of(BOB, "b3", claim=300)], {ALICE: 300})
    assert found == {"a": 100, "b": 8, "b3": 25}


def test_a_tenant_shares_like_one_user() -> None:
    """Two users of a tenant share, between them, what one without a tenant gets."""
    inside = [
        Contender("t1", "normal", 100, (ACME, ALICE), True),
        Contender("t2", "normal", 100, (ACME, BOB), True),
        Contender("t3", "normal", 100, (ACME, BOB), True),
    ]
    found = cpu_weights([*inside, *of(BOB, "b")], {})
    assert found == {"t1": 50, "t2": 25, "t3": 25, "b": 100}


def test_priorities_do_not_share_with_each_other() -> None:
    """A user's many low sessions do not make its high one small, nor another's low ones large."""
    high = Contender("h", "high", 400, (ALICE,), True)
    low = [Contender(f"l{n}", "low", 25, (ALICE,), True) for n in range(5)]
    other = Contender("o", "low", 25, (BOB,), True)
    found = cpu_weights([high, *low, other], {})
    assert found == {"h": 400, "o": 25} | {f"l{n}": 5 for n in range(5)}


OWNERS = st.sampled_from([(ALICE,), (BOB,), (ACME, ALICE), (ACME, BOB)])
CONTENDERS = st.lists(
    st.tuples(
        st.sampled_from(["high", "normal", "low"]), st.integers(1, 10000), OWNERS, st.booleans()
    ),
    max_size=30,
).map(lambda found: [Contender(str(number), *one) for number, one in enumerate(found)])
WEIGHTS = st.dictionaries(st.sampled_from([ALICE, BOB, ACME]), st.integers(1, 10000))


@given(CONTENDERS, WEIGHTS)
def test_nobody_gets_more_than_its_claim(
    contenders: list[Contender], weights: dict[Owner, int]
) -> None:
    """Every session has a weight that the kernel takes, at most its claim, and in each priority
    with somebody at work one owner has all that it claims."""
    found = cpu_weights(contenders, weights)
    assert found.keys() == {one.session for one in contenders}
    whole = defaultdict(bool)
    for one in contenders:
        assert 1 <= found[one.session] <= one.claim
        whole[one.priority] |= found[one.session] == one.claim
    assert all(whole.values())


@given(CONTENDERS)
def test_users_of_equal_weight_get_equal_sums(contenders: list[Contender]) -> None:
    """Whatever they claim; as near as whole numbers allow."""
    at_work = [one for one in contenders if one.active and len(one.owners) == 1]
    sums: dict[tuple[str, Owner], float] = defaultdict(float)
    counts: dict[tuple[str, Owner], int] = defaultdict(int)
    for one in at_work:
        key = (one.priority, one.owners[0])
        sums[key] += cpu_weights(at_work, {})[one.session]
        counts[key] += 1
    for (priority, owner), total in sums.items():
        other = (priority, BOB if owner == ALICE else ALICE)
        if other in sums:
            slack = counts[priority, owner] + counts[other]  # rounding, and never below 1
            assert total == pytest.approx(sums[other], abs=slack)


@given(
    st.integers(0, 1 << 50),
    st.dictionaries(st.text(min_size=1), st.tuples(st.integers(0, 1 << 20), st.integers(1, 10000))),
)
def test_bounds_of_a_cap_add_up_to_it(total: int, members: dict[str, tuple[int, int]]) -> None:
    """Nobody is bounded below what it uses; together they keep the cap if they keep it now."""
    used = {name: amount for name, (amount, _) in members.items()}
    found = split(total, used, {name: weight for name, (_, weight) in members.items()})
    assert all(found[name] >= used[name] for name in used)
    assert sum(found.values()) <= max(total, sum(used.values()))
