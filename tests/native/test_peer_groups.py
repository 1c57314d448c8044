# SPDX-License-Identifier: Apache-2.0
"""Membership of group agentcg, as the kernel reports it for a connection."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from agentcg.daemon.api import peers

NOBODY = 65534
ADMINISTRATORS = 4242


@pytest.mark.parametrize(
    ("groups", "admin"),
    [([], False), ([1, 2], False), ([1, ADMINISTRATORS], True), (list(range(5000, 5300)), False)],
    ids=["none", "others", "agentcg", "more than can be asked for"],
)
def test_members_of_the_group_are_administrators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: list[int], admin: bool
) -> None:
    """An ordinary user is one by a supplementary group alone, and never an error."""
    monkeypatch.setattr(peers, "group_id", lambda: ADMINISTRATORS)
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        path = str(tmp_path / "socket")
        listening.bind(path)
        os.chmod(path, 0o666)  # noqa: PTH101  a socket's file
        listening.listen()
        pid = os.fork()
        if pid == 0:
            os.setgroups(groups)
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.recv(1)
            os._exit(0)
        with listening.accept()[0] as connection:
            peer = peers.peer_of(connection)
        os.waitpid(pid, 0)
    assert (peer.uid, peer.admin) == (NOBODY, admin)
