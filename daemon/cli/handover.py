# SPDX-License-Identifier: Apache-2.0
"""Commands that are handed over, arguments and all, to a package of their own.

It is imported only when it is used: it brings with it what no other command needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

# Its own options, --help among them, are read there.
CONTEXT = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def hand_over(ctx: typer.Context, command: Callable[..., Any]) -> None:
    """Run `command` with the arguments that `ctx` did not look at."""
    inner = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    inner.command()(command)
    inner(args=ctx.args, prog_name=ctx.command_path, standalone_mode=True)
