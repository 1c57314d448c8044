# SPDX-License-Identifier: Apache-2.0
"""`agentcg policy check|show`; `explain` and `test` have modules of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentcg.daemon.cli.commands import policy_explain, policy_trial
from agentcg.daemon.cli.exits import FAILURE, PROBLEMS_FOUND, complain
from agentcg.daemon.cli.options import client_of
from agentcg.daemon.client.text import printable
from agentcg.errors import PolicyError

CHECK_HELP = """Check policy files; a directory stands for all its *.yaml.

Each mistake is one line, FILE:LINE:COLUMN: what is wrong, as compilers print it. What is
allowed but hardly meant, or more than this machine has, is a warning. What a file extends
is checked with it. The daemon is not asked and nothing is changed.

\b
Examples:
  agentcg policy check /etc/agentcg/policies.d
  agentcg policy check 50-site.yaml && cp 50-site.yaml /etc/agentcg/policies.d/

Exit codes: 0 no mistakes, warnings at most; 5 mistakes; 1 a file cannot be read.
"""
SHOW_HELP = """Print the policy in force: all rules in their order, each with its place.

Rules are asked from the top; the first that matches and sets a value decides it. What is
printed is a policy itself. Without a daemon it is what that would read; PATH shows another
policy, as the daemon would take it.

\b
Examples:
  agentcg policy show
  agentcg policy show 50-site.yaml
  agentcg policy show --default | less   the built-in default, with its reasons

Exit codes: 0; 1 a file cannot be read or has mistakes; 5 a newer policy was not taken.
"""
policy_app = typer.Typer(
    help="Check, show, explain and try policies.", no_args_is_help=True, rich_markup_mode=None
)


@policy_app.command("check", help=CHECK_HELP)
def check_files(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", show_default=False, help="Files or directories."),
    ],
) -> None:
    """Check files."""
    import psutil

    from agentcg import policies
    from agentcg.daemon.cli.logins import uid_of

    mistakes, unreadable = 0, False
    for path in files:
        try:
            found = policies.check(
                path, psutil.virtual_memory().total, lambda login: uid_of(login) is not None
            )
        except PolicyError as error:
            complain(error)
            unreadable = True
            continue
        directory = path if path.is_dir() else path.parent
        for mistake in found:
            # The policies speak of file names; an editor wants a path to jump to.
            typer.echo(printable(f"{directory / str(mistake)}"))
        mistakes += sum(not mistake.warning for mistake in found)
    if unreadable:
        raise typer.Exit(FAILURE)
    if mistakes:
        typer.echo(f"{mistakes} {'mistake' if mistakes == 1 else 'mistakes'}", err=True)
        raise typer.Exit(PROBLEMS_FOUND)


@policy_app.command("show", help=SHOW_HELP)
def show(
    ctx: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[PATH]", show_default=False, help="A file or directory."),
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Only the built-in default.")] = False,
) -> None:
    """Print the policy."""
    if default:
        typer.echo(_builtin(), nl=False)
        return
    from agentcg.daemon.cli.policy_source import in_force, of_path
    from agentcg.policies import render

    found = in_force(client_of(ctx)) if path is None else of_path(path)
    typer.echo(f"# {printable(found.origin)}")
    for line in (found.error or "").splitlines():
        typer.echo(f"# NOT TAKEN: {printable(line)}")
    typer.echo(render(found.policy), nl=False)
    if found.error is not None:
        raise typer.Exit(PROBLEMS_FOUND)


def _builtin() -> str:
    from importlib.resources import files

    return (files("agentcg.policies") / "default.yaml").read_text(encoding="utf-8")


policy_app.command("explain", help=policy_explain.HELP)(policy_explain.explain)
policy_app.command("test", help=policy_trial.HELP)(policy_trial.trial)
