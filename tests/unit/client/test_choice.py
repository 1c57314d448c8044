# SPDX-License-Identifier: Apache-2.0
"""Which session a command belongs to."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from agentcg.client import choice
from agentcg.client.choice import choose_session, own_cgroup, own_session, session_around
from agentcg.errors import InvalidInput
from agentcg.naming import NAME_PATTERN, user_session


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree /s/reviewer/call-1 in which the kernel would show the mark on `reviewer`."""
    (tmp_path / "s/reviewer/call-1").mkdir(parents=True)

    def getxattr(path: Path, name: str) -> bytes:
        if Path(path) == tmp_path / "s/reviewer" and name == "user.agentcg.session":
            return b"{}"
        raise OSError(61, "No data available")

    monkeypatch.setattr(os, "getxattr", getxattr)
    return tmp_path


def proc_file(directory: Path, cgroup: str) -> Path:
    """A /proc/PID/cgroup of a hybrid host."""
    path = directory / "proc_cgroup"
    path.write_text(f"12:memory:/user\n0::{cgroup}\n")
    return path


def test_session_around_a_call(marked: Path) -> None:
    """A process in a call's leaf is in the session above it."""
    assert session_around(proc_file(marked, "/s/reviewer/call-1"), (marked,)) == "reviewer"


@pytest.mark.parametrize("cgroup", ["/s", "/", "/user.slice", "/../outside", "/gone/session"])
def test_no_session_around(marked: Path, cgroup: str) -> None:
    """Elsewhere, at the root, outside of the namespace or in a cgroup that is gone: none."""
    assert session_around(proc_file(marked, cgroup), (marked,)) is None


def test_no_proc(tmp_path: Path) -> None:
    """Without /proc there is no session around, and no error."""
    assert session_around(tmp_path / "absent", (tmp_path,)) is None


def test_own_cgroup_reads_the_unified_line() -> None:
    """The v2 line is found among those of cgroup v1; a host without v2 has none."""
    assert own_cgroup("3:cpu:/a\n0::/b/c\n") == "/b/c"
    assert own_cgroup("3:cpu:/a\n") is None


def test_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option before the environment, before the cgroup, before the user's own."""
    monkeypatch.setattr(choice, "session_around", lambda: "around")
    assert choose_session("named", {"AGENTCG_SESSION": "env"}) == "named"
    assert choose_session(None, {"AGENTCG_SESSION": "env"}) == "env"
    assert choose_session(None, {}) == "around"
    monkeypatch.setattr(choice, "session_around", lambda: None)
    assert choose_session(None, {}) == own_session(os.getuid())


def test_bad_names_say_where_they_come_from() -> None:
    """An impossible name is told with the option or the variable that had it."""
    with pytest.raises(InvalidInput, match="--session: 'a/b'"):
        choose_session("a/b", {})
    with pytest.raises(InvalidInput, match=r"\$AGENTCG_SESSION: '\.\.'"):
        choose_session(None, {"AGENTCG_SESSION": ".."})


@pytest.mark.parametrize("name", ["ada", "ada.lovelace", "DOM\\ada", "ä" * 80, "_apt", "x" * 100])
def test_any_user_has_a_session(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every user's name makes a name that a session can have."""
    user = type("User", (), {"pw_name": name})
    monkeypatch.setattr(choice.pwd, "getpwuid", lambda _: user)
    assert re.fullmatch(NAME_PATTERN, own_session(1000))


def test_no_two_users_share_a_session() -> None:
    """What does not fit is not made to fit, and a name of digits is not another user's number."""
    assert user_session(1000, "ada-l") == "user-ada-l"
    assert user_session(1001, "ada.l") == "user-1001"
    assert user_session(1002, "1000") == "user-1002"


def test_user_without_a_name() -> None:
    """In a container the uid may have no name."""
    assert own_session(4_000_000_001) == "user-4000000001"
