# SPDX-License-Identifier: Apache-2.0
"""The command line of agentcgd: what can be asked for, with defaults and checks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import agentcg
from agentcg.bpf.pins import PIN_ROOT
from agentcg.daemon.history import Bounds
from agentcg.daemon.service.accounts.history import default_directory
from agentcg.daemon.service.host.root import AUTO
from agentcg.daemon.service.scheduler.scheduling import MOST_CPUS, Wanted
from agentcg.errors import InvalidInput
from agentcg.units import parse_duration, parse_size

DEFAULT_SOCKET = Path("/run/agentcg/agentcg.sock")
DEFAULT_POLICIES = Path("/etc/agentcg/policies.d")
DEFAULT_CLIENTS = Path("/etc/agentcg/clients.d")
REQUIRED = "memory,cpu,pids"
_KNOWN_CONTROLLERS = ("memory", "cpu", "pids", "io", "cpuset", "hugetlb", "misc", "rdma", "dmem")

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    root: str
    socket: Path
    policies: Path
    clients: Path
    require: frozenset[str]
    bpf: str
    pins: Path
    detect: str
    ladder: bool
    scheduler: Wanted
    scheduler_tasks: str
    memory_delay: str
    state: Path | None
    history_age: float  # seconds
    history_size: int  # bytes
    log_level: str
    guard: bool
    release: bool


def options(arguments: Sequence[str] | None = None) -> Options:
    """The command line, checked; exits with 2 and a usage message if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="agentcgd",
        description="Gives every tool call of an AI agent its own cgroup.",
        epilog="Exit status: 0 clean stop, 2 usage, 3 cannot start here, 1 a bug.",
    )
    parser.add_argument("--version", action="version", version=agentcg.__version__)
    _places(parser.add_argument_group("places"))
    _mechanisms(parser.add_argument_group("mechanisms"))
    _history(parser.add_argument_group("history of calls"))
    _process(parser.add_argument_group("the process"))
    return Options(**vars(parser.parse_args(arguments)))


_Group = argparse._ArgumentGroup  # argparse has no public name for it


def _places(group: _Group) -> None:
    group.add_argument(
        "--root", default=AUTO, metavar="PATH|auto",
        help="cgroup of all sessions; its parent must exist and be delegated "
        "(auto: below agentcg-sessions.service)",
    )  # fmt: skip
    group.add_argument(
        "--socket", type=Path, default=DEFAULT_SOCKET, metavar="PATH",
        help="where to listen, unless systemd hands a socket over (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--policies", type=Path, default=DEFAULT_POLICIES, metavar="DIR",
        help="policy files; none: the built-in policy (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--clients", type=Path, default=DEFAULT_CLIENTS, metavar="DIR",
        help="signatures of clients, over the built-in ones (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--pins", type=Path, default=PIN_ROOT, metavar="DIR",
        help="where the programs that account are pinned; a second daemon on this host, with a "
        "root of its own, needs its own (default: %(default)s)",
    )  # fmt: skip


def _mechanisms(group: _Group) -> None:
    group.add_argument(
        "--require", type=_controllers, default=_controllers(REQUIRED), metavar="LIST|none",
        help=f"controllers without which not to start (default: {REQUIRED})",
    )  # fmt: skip
    group.add_argument(
        "--bpf", choices=("auto", "off", "on"), default="auto",
        help="account by BPF if possible, never, or not start without it (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--detect", choices=("auto", "off"), default="auto",
        help="give calls a leaf that their agents did not declare, where BPF shows them "
        "(see docs/clients.md; default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--ladder", action=argparse.BooleanOptionalAction, default=True,
        help="lease memory to calls and, under pressure, slow, pause and, last, kill some "
        "(see docs/architecture.md; default: yes)",
    )  # fmt: skip
    group.add_argument(
        "--scheduler", choices=("auto", "off", "on"), default="auto",
        help="load the sched_ext scheduler where it can delay charges and there are at most "
        f"{MOST_CPUS} CPUs, never, or not start without it (see docs/scheduler.md; "
        "default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--scheduler-tasks", choices=("all", "agents"), default="all",
        help="with the scheduler: take all normal tasks of the host, or those in sessions alone "
        "(default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--memory-delay", choices=("auto", "off"), default="auto",
        help="with the scheduler: hold up, in the kernel, who allocates over its lease "
        "(default: %(default)s)",
    )  # fmt: skip


def _history(group: _Group) -> None:
    group.add_argument(
        "--state", type=_state, default=default_directory(), metavar="DIR|none",
        help="where it is kept (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--history-age", type=_duration, default=Bounds().age_s, metavar="TIME",
        help="how long calls are kept (default: 30d)",
    )  # fmt: skip
    group.add_argument(
        "--history-size", type=_size, default=Bounds().size_bytes, metavar="SIZE",
        help="how much is kept of them (default: 1G)",
    )  # fmt: skip


def _process(group: _Group) -> None:
    group.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info",
        help="what is told on standard error (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--guard", action=argparse.BooleanOptionalAction, default=True,
        help="have a small process let calls go on if this one dies (the unit does it by "
        "ExecStopPost=; default: yes)",
    )  # fmt: skip
    group.add_argument(
        "--release", action="store_true",
        help="let calls go on that a dead daemon has frozen or throttled, and exit",
    )  # fmt: skip


def _controllers(text: str) -> frozenset[str]:
    if text == "none":
        return frozenset()
    names = frozenset(text.split(","))
    if unknown := names - set(_KNOWN_CONTROLLERS):
        raise argparse.ArgumentTypeError(
            f"{sorted(unknown)[0]!r} is none of {', '.join(_KNOWN_CONTROLLERS)}"
        )
    return names


def _state(text: str) -> Path | None:
    return None if text == "none" else Path(text)


def _duration(text: str) -> float:
    return _value(parse_duration, text)


def _size(text: str) -> int:
    return _value(parse_size, text)


def _value(parse: Callable[[str], _Value], text: str) -> _Value:
    try:
        return parse(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(f"{error.value} is not valid: {error.rule}") from error
