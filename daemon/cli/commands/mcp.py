# SPDX-License-Identifier: Apache-2.0
"""`agentcg mcp`: a server of tools for the model itself."""

from __future__ import annotations

import typer

HELP = """Serve the Model Context Protocol on standard input and output.

The model can ask for room before a command that needs much memory (ask_for_room), and read why
its latest commands were killed, slowed or kept waiting (read_feedback), for the session that the
server runs in ($AGENTCG_SESSION, or that of its cgroup).

\b
Examples:
  claude mcp add agentcg -- agentcg mcp
  codex mcp add agentcg -- agentcg mcp

Exit codes: 0 when standard input ends; 2 $AGENTCG_SESSION is no name of a session.
"""


def mcp() -> None:
    """Serve until standard input ends."""
    from agentcg.mcp.__main__ import main

    raise typer.Exit(main())
