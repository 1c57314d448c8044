# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from agentcg.daemon.cli import values
from agentcg.daemon.client import Client, socket_path
from agentcg.errors import InvalidInput
from agentcg.naming import check_id, check_name

_Value = TypeVar("_Value")


class Cpu(StrEnum):
    """Share of the CPU when it is short (`messages.CpuLevel`; older typers know no Literal)."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


def option_value(parse: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """`parse` for typer: a mistake ends with 2 and names option, value and rule."""

    def parsed(text: str) -> _Value:
        try:
            return parse(text)
        except InvalidInput as error:
            raise typer.BadParameter(f"{error.value} is not valid: {error.rule}") from error

    return parsed


memory_size = option_value(values.memory_size)
wait_time = option_value(values.wait_time)
time_span = option_value(values.time_span)
session_name = option_value(check_name)
call_id = option_value(check_id)

Json = Annotated[bool, typer.Option("--json", help="The API's data as JSON, for programs.")]
SessionOption = Annotated[
    str | None,
    typer.Option("--session", "-s", metavar="NAME", parser=session_name, help="This session only."),
]
SessionArgument = Annotated[
    str, typer.Argument(metavar="NAME", parser=session_name, help="Name of the session.")
]


def client_of(ctx: typer.Context) -> Client:
    """The client for the socket that the user chose (--socket, $AGENTCG_SOCKET)."""
    return Client(socket_of(ctx))


def socket_of(ctx: typer.Context) -> Path:
    """The socket that the user chose."""
    return ctx.obj if isinstance(ctx.obj, Path) else socket_path()
