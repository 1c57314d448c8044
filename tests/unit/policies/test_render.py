# SPDX-License-Identifier: Apache-2.0
"""A policy is shown as one text that decides as the policy does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg import policies
from agentcg.policies import (
    CATEGORIES,
    DEFAULT,
    CallFacts,
    Policy,
    SessionFacts,
    check_text,
    from_texts,
    load,
    render,
)

GIB = 1 << 30
HERE = Path(policies.__file__).parent
SITE = """
version: 1
extends: multi-tenant
admission: {wait: [normal, low], wait_max: 90s}
users:
  - {match: {user: ['b"ob', "a*"]}, weight: 7}
sessions:
  - match: {name: ["ci-*", x], labels: {"team/a": 'r"ed', k: "*"}, uid: [1, 2]}
    tenant: "no"
    cpu_max: 1.5
  - match: {unit: 'a\\x2db@*.service'}
    steps: none
  - match: {}
  - match: {user: al*}
    priority: high
calls:
  - match: {command: '* "quoted" *', category: [test, build], priority: [low, high]}
    memory: 12.5%
"""


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """A site's policy with everything that has to be quoted, over one that ships."""
    (tmp_path / "site.yaml").write_text(SITE)
    return load(tmp_path)


def again(policy: Policy) -> Policy:
    """What is shown of `policy`, read as the only file there is."""
    text = render(policy)
    assert check_text(text, "shown") == []
    return from_texts([("shown", text)], "shown")


_SESSIONS = st.builds(
    SessionFacts,
    name=st.sampled_from(["ci-1", "x", "other"]),
    uid=st.sampled_from([0, 1, 2]),
    memory_bytes=st.just(8 * GIB),
    user=st.sampled_from(["alice", "bob", 'b"ob', None]),
    labels=st.sampled_from([{}, {"team/a": 'r"ed', "k": "v"}, {"kind": "batch"}]),
    asked_priority=st.sampled_from(["high", "normal", "low", None]),
    unit=st.sampled_from([None, r"a\x2db@1.service"]),
)
_CALLS = st.builds(
    CallFacts,
    tool=st.just("Bash"),
    command=st.sampled_from(['a "quoted" b', "make", None]),
    category=st.sampled_from(CATEGORIES),
    priority=st.sampled_from(["high", "normal", "low"]),
    memory_bytes=st.just(4 * GIB),
)


@given(_SESSIONS, _CALLS)
def test_what_is_shown_decides_alike(session: SessionFacts, call: CallFacts) -> None:
    """Read again, the text gives every session, call, user and tenant the same."""
    text = SITE.replace("extends: multi-tenant\n", "")
    shipped = (HERE / "multi-tenant.yaml").read_text()
    default = (HERE / "default.yaml").read_text()
    files = [("site.yaml", text), ("multi-tenant.yaml", shipped), ("default.yaml", default)]
    policy = from_texts(files, "files")
    shown = again(policy)

    def bare(rule: object) -> object:
        changes = {"rules": {}} | ({"rule": None} if hasattr(rule, "rule") else {})
        changes |= {"source": "default"} if hasattr(rule, "source") else {}
        return replace(rule, **changes)  # type: ignore[type-var]

    assert bare(shown.session(session)) == bare(policy.session(session))
    assert bare(shown.call(call)) == bare(policy.call(call))
    assert bare(shown.user(1, session.user, 8 * GIB)) == bare(policy.user(1, session.user, 8 * GIB))
    assert bare(shown.tenant("no", 8 * GIB)) == bare(policy.tenant("no", 8 * GIB))
    assert bare(shown.ladder) == bare(policy.ladder)
    assert bare(shown.admission) == bare(policy.admission)


def test_every_setting_has_its_place(policy: Policy) -> None:
    """Rules stand in the order in which they are asked, with file and line."""
    lines = [line.rstrip() for line in render(policy).splitlines()]
    cpu = next(line for line in lines if "cpu_max: 1.5" in line)
    assert cpu.endswith("# site.yaml:10")
    places = [line.rpartition("# ")[2].split(":")[0] for line in lines if "# " in line]
    sessions = lines.index("sessions:")
    assert places.index("site.yaml") < places.index("default.yaml")
    assert "site.yaml" in lines[sessions + 1]


def test_the_default_is_shown_as_it_is() -> None:
    """Without a site's files it is the built-in policy."""
    shown = again(DEFAULT)
    assert shown.ladder == replace(DEFAULT.ladder, rules=shown.ladder.rules)
    assert render(shown).count("\n") == render(DEFAULT).count("\n")
