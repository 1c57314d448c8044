# SPDX-License-Identifier: Apache-2.0
"""`agentcg version`: of this command line and of the daemon."""

from __future__ import annotations

import typer

from agentcg import __version__
from agentcg.daemon.cli.options import Json, client_of
from agentcg.daemon.cli.output import print_json
from agentcg.errors import Unavailable

HELP = """Print the version of agentcg and, if it is there, of the daemon.

Exit codes: 0.
"""


def version(ctx: typer.Context, as_json: Json = False) -> None:
    """Print versions."""
    daemon: str | None
    try:
        daemon = client_of(ctx).health().version
    except Unavailable:
        daemon = None
    if as_json:
        print_json({"agentcg": __version__, "agentcgd": daemon})
        return
    typer.echo(f"agentcg {__version__}")
    typer.echo(f"agentcgd {daemon}" if daemon else "agentcgd is not there")
