# SPDX-License-Identifier: Apache-2.0
"""`agentcg tree`: sessions, their runtime and calls, as the cgroups that they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from agentcg.daemon.cli.options import SessionOption, client_of

if TYPE_CHECKING:
    from rich.tree import Tree

    from agentcg.daemon.cli.snapshot import Snapshot

HELP = """Sessions and calls as the tree of cgroups that they are, with what each holds.

\b
Examples:
  agentcg tree
  agentcg tree --session reviewer

Exit codes: 0; 1 there is no such session; 3 if the daemon is not there.
"""


def tree(ctx: typer.Context, session: SessionOption = None) -> None:
    """Print the tree."""
    from agentcg.daemon.cli.snapshot import take
    from agentcg.daemon.cli.view.screen import console

    client = client_of(ctx)
    if session is not None:
        client.session(session)  # says so if there is none
    console().print(drawn(take(client), session), soft_wrap=True)


def drawn(look: Snapshot, only: str | None = None) -> Tree:
    """The tree of `look`, of one session or of all."""
    from rich.text import Text
    from rich.tree import Tree

    from agentcg.daemon.cli.view import figures
    from agentcg.daemon.client.text import printable
    from agentcg.units import format_size

    root = Tree(Text(look.host.cgroup, "dim"), guide_style="dim")
    for session in sorted(look.sessions, key=lambda one: one.name):
        if only not in (None, session.name):
            continue
        held = figures.of_limit(session.memory_current_bytes, figures.session_limit(session))
        node = root.add(
            Text.assemble((session.name, "bold"), f"  {session.priority}  {session.phase}  {held}")
        )
        node.add(Text(f"runtime  {session.processes} processes in all", "dim"))
        for call in sorted(look.calls, key=lambda one: one.begun_at):
            if call.session != session.name:
                continue
            state, style = figures.call_state(call)
            size = format_size(call.account.memory_current_bytes)
            command = printable(figures.tool_prefix(call) + (call.command or call.tool))
            node.add(Text.assemble(f"call-{call.id}  ", (state, style), f"  {size}  ", command))
    return root
