# SPDX-License-Identifier: Apache-2.0
"""`agentcg install-hooks`, and `agentcg hook` for hosts without a C compiler."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from agentcg.daemon.cli.options import wait_time
from agentcg.errors import InvalidInput, SpawnError

INSTALL_HELP = """Let a client tell agentcg of its tool calls, by hooks in its settings.

CLIENT is claude-code, codex or openhands. Its settings are merged, never replaced: other hooks and
keys stay as they are, the file keeps its mode and owner, and what it was before our hooks is kept
beside it (.agentcg-backup). Settings that could not be written back without loss (comments, a key
twice, something of another type) are left untouched, and it is said why. Doing it again changes
nothing.

\b
Examples:
  agentcg install-hooks claude-code --dry-run
  agentcg install-hooks claude-code --wait 30s
  agentcg install-hooks codex --remove
  agentcg install-hooks claude-code --file .claude/settings.json    of one project

Exit codes: 0; 1 it could not be written; 2 the settings, or an option, are not as they must be.
"""
HOOK_HELP = """What a client runs as its hook: standard input goes to the daemon, and what there is
to tell the model is printed. `agentcg install-hooks` sets it up, or the quicker
agentcg-hook, which does the same.

Exit codes: 0, whatever happens: a hook never fails its client.
"""


def install_hooks(  # noqa: PLR0917 - typer passes options by name
    client: Annotated[str, typer.Argument(help="claude-code, codex or openhands.")],
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="PATH", help="Settings to change; else the user's own."),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait", metavar="TIME", parser=wait_time,
            help="Let calls wait for room at most so long (up to 10m); 30s unless given.",
        ),
    ] = None,
    stay: Annotated[
        bool,
        typer.Option("--stay", help="Leave the agent in its cgroup; its calls are accounted only."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show what would be changed.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the hooks out again.")] = False,
) -> None:  # fmt: skip
    """Merge, or take out, and say what was done."""
    from agentcg.daemon.cli.settings_file import SettingsFile
    from agentcg.daemon.hooks import settings

    layout = settings.LAYOUTS.get(client)
    if layout is None:
        raise InvalidInput("client", client, f"one of {', '.join(settings.LAYOUTS)}")
    home = Path(os.environ.get(layout.variable) or Path.home() / layout.directory)
    found = SettingsFile(file or home / layout.file)
    before = settings.parse(found.text, str(found.path))
    theirs = after = settings.take_out(before)
    if not remove:
        command = [*_program(build=not dry_run), client, *(["--stay"] if stay else [])]
        after = settings.put_in(before, client, command, round(30 if wait is None else wait))
    if after == before:
        typer.echo(f"{found.path}: nothing to change")
        return
    text = settings.written(after, found.text)
    if dry_run:
        names = (str(found.path), f"{found.path} (changed)")
        lines = (found.text.splitlines(), text.splitlines())
        typer.echo("\n".join(difflib.unified_diff(*lines, *names, lineterm="")))
        return
    backup = found.replace(text, theirs=theirs == before)
    done = "hooks removed" if remove else "hooks installed"
    typer.echo(f"{found.path}: {done}" + (f"; as it was before hooks: {backup}" if backup else ""))
    if before.get("disableAllHooks") is True:
        typer.echo("Note: these settings have disableAllHooks: the client runs none.")
    if layout.note and not remove:
        typer.echo(f"Note: {layout.note}")


def _program(*, build: bool) -> list[str]:
    """What a hook is started as: the compiled program, else ourselves."""
    from agentcg import native

    name = "agentcg-hook"
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    own = data / "agentcg/bin"
    program = native.installed(name) or (own / name if (own / name).is_file() else None)
    if program is None and build:
        try:
            program = native.build(own, name)
        except (SpawnError, OSError) as error:
            typer.echo(f"Note: without the compiled hook, which is quicker: {error}", err=True)
    if program is None and not build:
        program = own / name if native.compiler() else None
    if program is not None:
        return [str(program)]
    beside = Path(sys.executable).with_name("agentcg")
    return [str(beside) if beside.exists() else "agentcg", "hook"]


def hook(
    client: Annotated[str, typer.Argument(help="claude-code, codex or openhands.")],
    wait: Annotated[int, typer.Option("--wait", min=0, max=600, help="Seconds.")] = 0,
    stay: Annotated[bool, typer.Option("--stay", help="Leave the agent in its cgroup.")] = False,
) -> None:
    """For the help; `cli.hooking` does it."""
    from agentcg.daemon.cli.hooking import run_hook

    run_hook(client, wait, stay=stay)
