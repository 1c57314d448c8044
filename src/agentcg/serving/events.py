# SPDX-License-Identifier: Apache-2.0
"""The daemon's events for asyncio: server-sent events over its Unix socket."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from agentcg.errors import Unavailable

_ANSWER_S = 5.0
_LINE_MAX_BYTES = 1 << 20
_START = "start it (systemctl start agentcgd), or name its socket: $AGENTCG_SOCKET"


async def events(
    socket: str | None = None, *, session: str | None = None
) -> AsyncIterator[dict[str, Any]]:
    """Events as they happen, of one session or of all that the caller may see, as in docs/api.md.

    Ends when the daemon ends the stream: it has stopped, or the reader was too slow. Raises
    `Unavailable` where there is no daemon, or it refuses.
    """
    path = socket or os.environ.get("AGENTCG_SOCKET") or "/run/agentcg/agentcg.sock"
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_MAX_BYTES)
    except OSError as error:  # TimeoutError is one
        raise Unavailable(f"no agentcg daemon at {path}: {error}", remedy=_START) from error
    try:
        query = "" if session is None else f"?session={quote(session, safe='')}"
        # Of HTTP/1.0, since that has no chunks: the stream is what follows the head.
        writer.write(f"GET /v1/events{query} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        await _head(reader, path)
        while line := await reader.readline():
            if line.startswith(b"data:"):
                yield json.loads(line[5:])
    except ConnectionError:
        return
    finally:
        writer.close()


async def _head(reader: asyncio.StreamReader, path: str) -> None:
    try:
        async with asyncio.timeout(_ANSWER_S):
            status = await reader.readline()
            while await reader.readline() not in (b"\r\n", b"\n", b""):
                pass
    except OSError as error:
        raise Unavailable(f"{path}: no answer: {error}", remedy=_START) from error
    if status.split()[1:2] != [b"200"]:
        said = status.decode(errors="replace").strip() or "nothing"
        raise Unavailable(f"{path} does not send events: {said}", remedy=_START)
