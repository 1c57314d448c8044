# SPDX-License-Identifier: Apache-2.0
"""The command line, `agentcg`."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of `agentcg`; ends the process with one of the codes in `cli.exits`."""
    try:
        if sys.argv[1:2] == ["run"]:
            from agentcg.daemon.cli.running import quick_run

            status = quick_run(sys.argv[2:])
            if status is not None:
                sys.exit(status)
        if sys.argv[1:2] == ["hook"]:
            from agentcg.daemon.cli.hooking import quick_hook

            if quick_hook(sys.argv[2:]):
                sys.exit(0)
        if sys.argv[1:] == ["mcp"]:
            from agentcg.mcp.__main__ import main as serve

            sys.exit(serve())
        _without_rich()
        from agentcg.daemon.cli.app import app

        app(prog_name="agentcg")
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell has it: 128 + SIGINT


def _without_rich() -> None:
    """Import typer without rich, and leave rich to those commands that paint with it.

    typer before 0.16 imports all of rich at start, which is 40 of the 80 ms that a start then
    takes. None in `sys.modules` is Python's own way to have an import fail; typer then prints
    plain help, which is what we want anyway.
    """
    if "rich" in sys.modules or "typer" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import typer  # noqa: F401
    finally:
        del sys.modules["rich"]
