# SPDX-License-Identifier: Apache-2.0
"""Connecting to QEMU's sockets."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

RETRY_S = 0.01


def connect(path: Path, timeout_s: float) -> socket.socket:
    """A connection to the Unix socket `path`, which may have to appear first; else OSError.

    The path may be longer than a socket address: it is reached by a directory descriptor.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return _connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline_s:
                raise
            time.sleep(RETRY_S)


def _connect(path: Path) -> socket.socket:
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{path.name}")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection
