# SPDX-License-Identifier: Apache-2.0
"""`agentcg simulate`: see `agentcg.daemon.simulate`."""

from __future__ import annotations

import typer

from agentcg.daemon.cli.handover import hand_over


def simulate(ctx: typer.Context) -> None:
    """Play recorded agent work in simulated time."""
    from agentcg.daemon.simulate import command

    hand_over(ctx, command.simulate)
