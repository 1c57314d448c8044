# SPDX-License-Identifier: Apache-2.0
"""Rules of who may act on what, and which processes may be placed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from agentcg.daemon.messages import DeclareIntent
from agentcg.daemon.service.host.peers import (
    Peer,
    has_exited,
    held_processes,
    is_below,
    may_act,
    real_uid,
    require_admin,
)
from agentcg.daemon.service.intents.intents import HOLDS_S, holds_s
from agentcg.errors import Forbidden, InvalidInput
from cgroup_support import process
from support.descriptors import open_files

HOME = "/sys/fs/cgroup/root/a"


def peer(uid: int = 1000, *, admin: bool = False, at: str | None = None) -> Peer:
    return Peer(uid=uid, pid=1, admin=admin, locate=lambda: at)


@pytest.mark.parametrize(
    ("path", "below"),
    [(HOME, True), (f"{HOME}/runtime", True), (f"{HOME}-2/runtime", False), ("/", False),
     (None, False)],
)  # fmt: skip
def test_below_means_the_cgroup_or_one_in_it(path: str | None, below: bool) -> None:
    """A path that merely begins alike is not below."""
    assert is_below(path, HOME) is below


@pytest.mark.parametrize(
    ("who", "may"),
    [
        (peer(uid=7), True),
        (peer(uid=8), False),
        (peer(uid=8, admin=True), True),
        (peer(uid=8, at=f"{HOME}/call-x"), True),
        (peer(uid=8, at="/sys/fs/cgroup/root/b"), False),
        (peer(uid=8, at=None), False),
    ],
)
def test_owner_admin_and_inhabitant_may_act(who: Peer, may: bool) -> None:
    """Nobody else may."""
    assert may_act(who, owner=7, cgroup=HOME) is may


def test_admin_is_required_in_words() -> None:
    """The refusal says what it takes."""
    require_admin(peer(admin=True), "do this")
    with pytest.raises(Forbidden, match="group agentcg"):
        require_admin(peer(), "do this")


def test_own_living_process_is_held() -> None:
    """A descriptor stands for the process until the block ends."""
    with process() as child, held_processes(peer(uid=os.getuid()), [child.pid]) as held:
        assert not has_exited(held[0])
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(held[0])


def test_process_that_is_gone_is_refused_and_descriptors_are_closed() -> None:
    """One bad pid among good ones leaves nothing open."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with process() as living:
        before = open_files()
        with (
            pytest.raises(InvalidInput, match="alive"),
            held_processes(peer(uid=os.getuid()), [living.pid, child.pid]),
        ):
            pass
        assert open_files() - before == set()


def test_daemon_itself_is_refused() -> None:
    """Not even root moves the daemon into a session, which can be killed as a whole."""
    with (
        pytest.raises(InvalidInput, match="the daemon itself"),
        held_processes(peer(uid=os.getuid()), [os.getpid()]),
    ):
        pass


def test_process_of_another_user_is_refused() -> None:
    """A peer that is not root places its own processes only."""
    with (
        pytest.raises(Forbidden, match="not of uid 4242"),
        held_processes(peer(uid=4242), [os.getpid()]),
    ):
        pass


def test_real_uid_of_nobody_is_none() -> None:
    """No such process, no uid."""
    assert real_uid(os.getpid()) == os.getuid()
    assert real_uid(4194303) is None


@pytest.mark.parametrize(
    ("intent", "seconds"),
    [
        (DeclareIntent(kind="call"), HOLDS_S),
        (DeclareIntent(kind="call", start_in_s=60, duration_s=900), 60 + HOLDS_S),
        (DeclareIntent(kind="idle", duration_s=900), 900),
        (DeclareIntent(kind="call", start_in_s=60, deadline_s=5), 5),
    ],
)
def test_how_long_an_intent_holds(intent: DeclareIntent, seconds: float) -> None:
    """Until its deadline; else a while after its start; an idle one as long as it says."""
    assert holds_s(intent) == seconds
