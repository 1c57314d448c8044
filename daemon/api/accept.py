# SPDX-License-Identifier: Apache-2.0
"""Accepting connections, also when descriptors run out.

Not asyncio's server: that one tries, and logs, as often as its backlog is long where there are
no descriptors; and since Python 3.13 it removes the file of a Unix socket at the end, also of
one that systemd goes on listening on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from agentcg.daemon.api import bounds

log = logging.getLogger(__name__)

_TELL_AGAIN_S = 60.0


async def accept(listening: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
    """Give every connection to `listening` a protocol of its own, until this is cancelled."""
    loop = asyncio.get_running_loop()
    tell_from_s = 0.0
    while True:
        try:
            connection, _ = await loop.sock_accept(listening)
        except ConnectionAbortedError:
            continue
        except OSError as error:  # EMFILE, ENFILE, ENOMEM: it can only be waited for
            if loop.time() >= tell_from_s:
                tell_from_s = loop.time() + _TELL_AGAIN_S
                log.error("new connections have to wait: %s (LimitNOFILE=)", error.strerror)
            await asyncio.sleep(bounds.ACCEPT_PAUSE_S)
            continue
        try:
            await loop.connect_accepted_socket(protocol, connection)
        except OSError as error:  # it is gone already, so that the kernel does not know its peer
            log.debug("a connection was lost at once: %s", error)
            connection.close()
