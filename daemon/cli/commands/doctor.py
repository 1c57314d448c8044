# SPDX-License-Identifier: Apache-2.0
"""`agentcg doctor`: which controls hold on this host, by what, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from agentcg.daemon.cli.exits import PROBLEMS_FOUND, UNAVAILABLE
from agentcg.daemon.cli.options import Json, client_of
from agentcg.daemon.cli.output import print_json
from agentcg.daemon.messages import Control, Health
from agentcg.errors import Unavailable

HELP = """Check which controls hold on this host, by which backend, and what would be needed.

Asks the daemon. If it is not there, the host is checked from here: cgroup v2, controllers,
delegation, kernel features, BPF (as root: also what only root may see).

\b
  ok        enforced
  DEGRADED  held by something weaker, or only in part
  ABSENT    not held at all
  off       an extra that is not in use, and why; no problem

\b
Examples:
  agentcg doctor
  agentcg doctor --json | jq -r '.controls[] | select(.state == "degraded") | .detail'

\b
Exit codes:
  0  the daemon is there and everything holds
  3  the daemon is not there, but this host has all that it needs
  5  something does not hold
"""


def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Print each control and its state."""
    client = client_of(ctx)
    health: Health | None = None
    absence = ""
    try:
        health = client.health()
        controls: Sequence[Control] = health.controls
    except Unavailable as error:
        from agentcg.daemon.cli.checks import host_controls

        absence = error.message
        controls = host_controls()
    if as_json:
        _print_json(health, absence, controls)
    else:
        _print(health, absence, controls)
    raise typer.Exit(exit_code(health, controls))


def exit_code(health: Health | None, controls: Sequence[Control]) -> int:
    """The codes of `HELP`."""
    if health is not None:
        return PROBLEMS_FOUND if health.state == "degraded" else 0
    sound = all(control.state in ("enforced", "off") for control in controls)
    return UNAVAILABLE if sound else PROBLEMS_FOUND


def _print_json(health: Health | None, absence: str, controls: Sequence[Control]) -> None:
    print_json(
        {
            "daemon": "running" if health else "absent",
            "detail": absence,
            "state": health.state if health else None,
            "policy": health.policy if health else None,
            "policy_error": health.policy_error if health else None,
            "policy_warnings": health.policy_warnings if health else [],
            "controls": controls,
        }
    )


def _print(health: Health | None, absence: str, controls: Sequence[Control]) -> None:
    from agentcg.daemon.cli.view.doctor import report
    from agentcg.daemon.cli.view.screen import page_size, paint

    paint(report(health, absence, controls, page_size()[0]))
