# SPDX-License-Identifier: Apache-2.0
"""The peer of a connection, as the kernel names it."""

from __future__ import annotations

import grp
import os
import select
import socket
import struct
from functools import cache, partial

from agentcg.cgroups import find_mount
from agentcg.daemon.service.host.peers import Peer, cgroup_of, has_exited

GROUP = "agentcg"
SO_PEERGROUPS = 59  # asm-generic/socket.h, Linux 4.13
SO_PEERPIDFD = 77  # Linux 6.5

_UCRED = struct.Struct("3i")  # pid, uid, gid: unix(7)
_GROUPS_MAX = 256  # socket.getsockopt() takes a buffer of 1024 bytes at most


def peer_of(connection: socket.socket) -> Peer:
    """Credentials that the peer had when it connected; no later change counts."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    admin = uid == 0 or _in_group(connection, gid)
    return Peer(uid=uid, pid=pid, admin=admin, locate=partial(_locate, connection, pid))


def has_left(connection: socket.socket) -> bool:
    """Whether the peer has closed its end, and nobody can take an answer any more."""
    poll = select.poll()
    poll.register(connection, 0)  # POLLHUP is told unasked: both directions are shut
    return bool(poll.poll(0))


def _in_group(connection: socket.socket, gid: int) -> bool:
    wanted = group_id()
    if wanted is None:
        return False
    if gid == wanted:
        return True
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _GROUPS_MAX * 4)
    except OSError:  # ERANGE: in more groups than can be asked for, hence no administrator
        return False
    return wanted in struct.unpack(f"{len(raw) // 4}I", raw)


@cache
def group_id() -> int | None:
    """Id of group agentcg; None on a host without it."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def _locate(connection: socket.socket, pid: int) -> str | None:
    """The cgroup that the peer is in now, if that is certain: its pid must still be its own."""
    try:
        descriptor = connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError:  # before Linux 6.5; then a pid that was reused since is not noticed
        return cgroup_of(pid, _mount())
    try:
        found = cgroup_of(pid, _mount())
        return None if has_exited(descriptor) else found
    finally:
        os.close(descriptor)


@cache
def _mount() -> str:
    return str(find_mount().path)
