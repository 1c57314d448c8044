# SPDX-License-Identifier: Apache-2.0
"""The protocol: what a message is answered. No I/O but that of the tools and of `serve`.

Source: Model Context Protocol, revisions 2024-11-05 to 2025-06-18, and JSON-RPC 2.0.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from agentcg import __version__
from agentcg.mcp.tools import TOOLS, BadArguments, Tools

LINE_MAX_BYTES = 1 << 20
REVISIONS = ("2025-06-18", "2025-03-26", "2024-11-05")
INSTRUCTIONS = (
    "Memory on this host is shared between agents. Before a command that needs much of it (a "
    "build, a test suite, an install), ask_for_room says whether it fits, and what would. After "
    "one that was killed or slow, read_feedback says why."
)
_PARSE, _REQUEST, _METHOD, _PARAMS, _INTERNAL = -32700, -32600, -32601, -32602, -32603


class Server:
    """Answers one message after another; it keeps nothing between them."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def line(self, raw: bytes) -> Any:
        """The answer to a line, as JSON; None where there is none to give."""
        try:
            message = json.loads(raw)
        except (ValueError, RecursionError) as error:
            return _error(None, _PARSE, f"not JSON: {error}")
        if isinstance(message, list) and message:  # a batch, which revision 2025-03-26 has
            return [answer for one in message if (answer := self.answer(one)) is not None] or None
        return self.answer(message)

    def answer(self, message: Any) -> Any:
        """The answer to one message; None to a notification, and to an answer."""
        number = message.get("id") if isinstance(message, dict) else None
        wrong = _wrong(message)
        if wrong is not None:
            return _error(None, _REQUEST, wrong)
        if "id" not in message or "method" not in message:
            return None
        try:
            result = self._result(message["method"], message.get("params", {}))
        except BadArguments as error:
            return _error(number, _PARAMS, str(error))
        except Exception as error:  # a bug must not end the server that a client relies on
            return _error(number, _INTERNAL, f"{type(error).__name__}: {error}")
        if result is None:
            return _error(number, _METHOD, f"there is no {message['method'][:80]}")
        return {"jsonrpc": "2.0", "id": number, "result": result}

    def _result(self, method: str, params: Any) -> dict[str, Any] | None:
        if not isinstance(params, dict):
            raise BadArguments("params must be an object")
        if method == "initialize":
            asked = params.get("protocolVersion")
            return {
                "protocolVersion": asked if asked in REVISIONS else REVISIONS[0],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "agentcg", "version": __version__},
                "instructions": INSTRUCTIONS,
            }
        if method == "ping":
            return {}
        if method == "tools/list":
            return {"tools": TOOLS}
        if method == "tools/call":
            return self._tools.call(params)
        return None


def serve(tools: Tools, incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer until standard input ends, or nobody reads the answers."""
    server = Server(tools)
    while line := incoming.readline(LINE_MAX_BYTES):
        if not line.endswith(b"\n") and len(line) == LINE_MAX_BYTES:
            while (rest := incoming.readline(LINE_MAX_BYTES)) and not rest.endswith(b"\n"):
                continue
            answer = _error(None, _REQUEST, f"a message has at most {LINE_MAX_BYTES} bytes")
        elif not line.strip():
            continue
        else:
            answer = server.line(line)
        if answer is not None:
            try:
                outgoing.write(json.dumps(answer).encode() + b"\n")
                outgoing.flush()
            except (BrokenPipeError, ValueError):
                return


def _wrong(message: Any) -> str | None:
    """Why `message` is none of JSON-RPC, or None."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return "no JSON-RPC 2.0 message"
    if "method" not in message and ("result" in message or "error" in message):
        return None
    if not isinstance(message.get("method"), str):
        return "method must be a text"
    return (
        "id must be a text or a number" if type(message.get("id")) in (dict, list, bool) else None
    )


def _error(number: Any, code: int, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": text}}
