# SPDX-License-Identifier: Apache-2.0
"""`agentcg replay`: see `agentcg.daemon.replay`."""

from __future__ import annotations

import os

import typer

from agentcg.client.choice import SOCKET_VARIABLE
from agentcg.daemon.cli.handover import hand_over
from agentcg.daemon.cli.options import socket_of


def replay(ctx: typer.Context) -> None:
    """Play recorded agent work as real load under one control or several."""
    from agentcg.daemon.replay import command

    os.environ[SOCKET_VARIABLE] = str(socket_of(ctx))
    hand_over(ctx, command.replay)
