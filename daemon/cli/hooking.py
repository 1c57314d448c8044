# SPDX-License-Identifier: Apache-2.0
"""`agentcg hook`: what native/hook.c does, in Python, for hosts without a compiler.

Nothing here may fail a client: whatever happens, the status is 0.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from agentcg.client.choice import SESSION_VARIABLE, socket_path
from agentcg.client.connection import Connection
from agentcg.client.requests import ALIVE_S, ANSWER_S
from agentcg.errors import AgentcgError
from agentcg.naming import check_name

INPUT_MAX_BYTES = 1 << 20
WAIT_MAX_S = 600


def quick_hook(words: Sequence[str]) -> bool:
    """Run `agentcg hook WORDS`, unless it needs the whole command line; whether it was run."""
    if not words or words[0].startswith("-") or {"-h", "--help"} & set(words):
        return False
    wait_s, rest = 0, list(words[1:])
    while rest:
        word = rest.pop(0)
        if word == "--wait" and rest and rest[0].isdigit():
            wait_s = int(rest.pop(0))
    run_hook(words[0], wait_s, stay="--stay" in words)
    return True


def run_hook(client: str, wait_s: int, *, stay: bool) -> None:
    """Pass standard input on, print the answer."""
    try:
        given = sys.stdin.buffer.read(INPUT_MAX_BYTES + 1)
        while sys.stdin.buffer.read(1 << 16):  # what is too much: nobody likes a broken pipe
            continue
        if not given or len(given) > INPUT_MAX_BYTES:
            return
        _print(_told(client, given, wait_s if 0 <= wait_s <= WAIT_MAX_S else 0, stay=stay))
    except (AgentcgError, OSError, ValueError):
        return


def _told(client: str, given: bytes, wait_s: int, *, stay: bool) -> bytes:
    session = os.environ.get(SESSION_VARIABLE, "")
    target = f"/v1/hooks/{check_name(client, 'client')}?wait_s={wait_s}&stay={str(stay).lower()}"
    if session:
        target += f"&session={check_name(session)}"
    connection = Connection(socket_path(), timeout_s=ANSWER_S + wait_s)
    reply = connection.request("POST", target, given, alive_s=ALIVE_S if wait_s else None)
    return reply.body if reply.status == 200 else b""


def _print(text: bytes) -> None:
    """Without Python's buffer, which would be flushed once more, and fail, as the program ends."""
    left = memoryview(text)
    while left:
        left = left[os.write(1, left) :]
