# SPDX-License-Identifier: Apache-2.0
"""`agentcg replay`: handed over, arguments and all, to `agentcg.daemon.replay`.

It is imported only when it is used: it brings the load generator with it.
"""

from __future__ import annotations

import os

import typer

from agentcg.daemon.cli.options import socket_of
from agentcg.daemon.client.client import SOCKET_VARIABLE

# Its own options, --help among them, are read there.
CONTEXT = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def replay(ctx: typer.Context) -> None:
    """Play recorded agent work as real load under one control or several."""
    from agentcg.daemon.replay import command

    os.environ[SOCKET_VARIABLE] = str(socket_of(ctx))
    inner = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    inner.command()(command.replay)
    inner(args=ctx.args, prog_name="agentcg replay", standalone_mode=True)
