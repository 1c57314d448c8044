# SPDX-License-Identifier: Apache-2.0
"""`python -m agentcg.mcp`: the same as `agentcg mcp`."""

from __future__ import annotations

import sys

from agentcg.client import Client
from agentcg.client.choice import choose_session
from agentcg.errors import AgentcgError
from agentcg.mcp import serve
from agentcg.mcp.tools import Tools


def main() -> int:
    """Serve standard input; 2 if the session's name is none."""
    try:
        client = Client()
    except AgentcgError as error:
        print(f"agentcg mcp: {error}", file=sys.stderr)
        return 2
    serve(Tools(client, lambda: choose_session(None)), sys.stdin.buffer, sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
