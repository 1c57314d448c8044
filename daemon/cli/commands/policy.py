# SPDX-License-Identifier: Apache-2.0
"""`agentcg policy check|show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentcg.daemon.cli.exits import FAILURE, PROBLEMS_FOUND, complain
from agentcg.daemon.cli.options import client_of
from agentcg.daemon.client.text import printable
from agentcg.errors import PolicyError, Unavailable

CHECK_HELP = """Check policy files; a directory stands for all its *.yaml.

Each mistake is one line, FILE:LINE:COLUMN: what is wrong, as compilers print it. The daemon
is not asked and nothing is changed.

\b
Examples:
  agentcg policy check /etc/agentcg/policies.d
  agentcg policy check 50-site.yaml && systemctl reload agentcgd

Exit codes: 0 no mistakes; 5 there are some; 1 a file cannot be read.
"""
SHOW_HELP = """Print the policy in force: the files the daemon names, then the built-in default.

Rules are asked in this order; the first that matches and sets a value decides it. If the
daemon is not there, it is what it would read.

\b
Examples:
  agentcg policy show
  agentcg policy show --default | less

Exit codes: 0; 1 a file cannot be read; 5 a newer policy was not taken.
"""
DIRECTORY = Path("/etc/agentcg/policies.d")

policy_app = typer.Typer(
    help="Check or show policies.", no_args_is_help=True, rich_markup_mode=None
)


@policy_app.command("check", help=CHECK_HELP)
def check_files(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", show_default=False, help="Files or directories."),
    ],
) -> None:
    """Check files."""
    from agentcg import policies

    mistakes, unreadable = 0, False
    for path in files:
        try:
            found = policies.check(path)
        except PolicyError as error:
            complain(error)
            unreadable = True
            continue
        directory = path if path.is_dir() else path.parent
        for mistake in found:
            # The policies speak of file names; an editor wants a path to jump to.
            typer.echo(printable(f"{directory / str(mistake)}"))
        mistakes += len(found)
    if unreadable:
        raise typer.Exit(FAILURE)
    if mistakes:
        typer.echo(f"{mistakes} {'mistake' if mistakes == 1 else 'mistakes'}", err=True)
        raise typer.Exit(PROBLEMS_FOUND)


@policy_app.command("show", help=SHOW_HELP)
def show(
    ctx: typer.Context,
    default: Annotated[bool, typer.Option("--default", help="Only the built-in default.")] = False,
) -> None:
    """Print the policy."""
    if default:
        typer.echo(_builtin(), nl=False)
        return
    error = None
    try:
        health = client_of(ctx).health()
        source, error = health.policy, health.policy_error
        typer.echo(f"# in force: {printable(source)}")
    except Unavailable:
        source = str(DIRECTORY)
        typer.echo(f"# the daemon is not there; it would read {source}")
    if error is not None:
        typer.echo(f"# NOT TAKEN: {printable(error)}")
    directory = Path(source)
    if directory.is_absolute():
        for path in _files(directory):
            typer.echo(f"\n# --- {path}\n{_text(path)}", nl=False)
    typer.echo(f"\n# --- built-in default\n{_builtin()}", nl=False)
    if error is not None:
        raise typer.Exit(PROBLEMS_FOUND)


def _files(directory: Path) -> list[Path]:
    return sorted(
        path for path in directory.glob("*.yaml") if path.is_file() and path.name[0] != "."
    )


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from error
    return text if text.endswith("\n") else text + "\n"


def _builtin() -> str:
    from importlib.resources import files

    return (files("agentcg.policies") / "default.yaml").read_text(encoding="utf-8")
