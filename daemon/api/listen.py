# SPDX-License-Identifier: Apache-2.0
"""The listening socket: handed over by systemd, or made here without taking anybody's place."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from agentcg.daemon.api import bounds
from agentcg.errors import StartupError

_FIRST_FD = 3  # sd_listen_fds(3)
_MODE = 0o666  # what a peer may do is decided by its credentials


def inherited() -> socket.socket | None:
    """The socket that systemd listens on for us (LISTEN_FDS); None if it does not."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    if count != "1":
        raise StartupError(
            f"systemd handed over {count or 'no'} sockets instead of one",
            remedy="agentcg.socket needs exactly one ListenStream=",
        )
    listening = socket.socket(fileno=_FIRST_FD)
    listening.setblocking(False)
    os.set_inheritable(_FIRST_FD, False)
    if listening.family != socket.AF_UNIX or listening.type != socket.SOCK_STREAM:
        raise StartupError("the socket of systemd is not a Unix stream socket")
    return listening


def bind(path: Path) -> socket.socket:
    """A socket bound to `path`; the file of a daemon that is gone is replaced, nothing else."""
    _clear(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        path.chmod(_MODE)
    except OSError as error:
        listening.close()
        raise StartupError(
            f"cannot listen on {path}: {error.strerror or error}",
            remedy="its directory must exist and be writable; a path has at most 107 bytes",
        ) from error
    # At once: a socket that is bound and does not listen looks like one that a dead daemon left.
    listening.listen(bounds.BACKLOG)
    listening.setblocking(False)
    return listening


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartupError(f"cannot listen on {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise StartupError(
            f"{path} exists and is not a socket", remedy="name another path with --socket"
        )
    if answers(path):
        raise StartupError(
            f"another daemon listens on {path}",
            remedy="stop it first, or name another path with --socket",
        )
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def answers(path: Path) -> bool:
    """Whether somebody listens on the socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # full backlog, timeout: somebody is there, however slow
            return True
    return True
