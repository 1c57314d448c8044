# SPDX-License-Identifier: Apache-2.0
"""agentcgd, the daemon: options, signals, and what systemd wants to know.

Exit status: 0 after a clean stop; 2 for a usage error; 3 if this host, the root, the socket
or another daemon does not let it start (the reason is on standard error); 1 for a bug.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import agentcg
from agentcg.bpf.pins import PIN_ROOT
from agentcg.daemon.api import listen
from agentcg.daemon.api.routes import ROUTES
from agentcg.daemon.api.server import Server
from agentcg.daemon.guard import Guard
from agentcg.daemon.history import Bounds
from agentcg.daemon.notify import Notifier
from agentcg.daemon.service.history import History, default_directory
from agentcg.daemon.service.release import release_root
from agentcg.daemon.service.root import AUTO, Root, locate
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.service import Service
from agentcg.errors import AgentcgError, InvalidInput
from agentcg.policies.signature_files import load_signatures
from agentcg.units import parse_duration, parse_size

EXIT_STARTUP = 3
DEFAULT_SOCKET = Path("/run/agentcg/agentcg.sock")
DEFAULT_POLICIES = Path("/etc/agentcg/policies.d")
DEFAULT_CLIENTS = Path("/etc/agentcg/clients.d")
REQUIRED = "memory,cpu,pids"
_KNOWN_CONTROLLERS = ("memory", "cpu", "pids", "io", "cpuset", "hugetlb", "misc", "rdma", "dmem")

log = logging.getLogger("agentcg")

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    root: str
    socket: Path
    policies: Path
    require: frozenset[str]
    bpf: str
    pins: Path
    state: Path | None
    history_age: float
    history_size: int
    detect: str
    clients: Path
    log_level: str
    ladder: bool
    scheduler: str
    memory_delay: str
    release: bool
    guard: bool


def options(arguments: Sequence[str] | None = None) -> Options:
    """The command line, checked; exits with 2 and a usage message if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="agentcgd",
        description="Gives every tool call of an AI agent its own cgroup.",
        epilog="Exit status: 0 clean stop, 2 usage, 3 cannot start here, 1 a bug.",
    )
    parser.add_argument(
        "--root", default=AUTO, metavar="PATH|auto",
        help="cgroup of all sessions; its parent must exist and be delegated "
        "(auto: below agentcg-sessions.service)",
    )  # fmt: skip
    parser.add_argument("--socket", type=Path, default=DEFAULT_SOCKET, metavar="PATH",
                        help="where to listen, unless systemd hands a socket over "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--policies", type=Path, default=DEFAULT_POLICIES, metavar="DIR",
                        help="policy files; none: the built-in policy "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--require", type=_controllers, default=_controllers(REQUIRED),
                        metavar="LIST|none",
                        help="controllers without which not to start "
                        f"(default: {REQUIRED})")  # fmt: skip
    parser.add_argument(
        "--bpf",
        choices=("auto", "off", "on"),
        default="auto",
        help="account by BPF if possible, never, or not start without it",
    )
    parser.add_argument(
        "--pins", type=Path, default=PIN_ROOT, metavar="DIR",
        help="where the programs that account are pinned; a second daemon on this host, with a "
        "root of its own, needs its own (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--state", type=_state, default=default_directory(), metavar="DIR|none",
                        help="where the history of calls is kept "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--history-age", type=_duration, default=Bounds().age_s, metavar="TIME",
                        help="how long calls are kept (default: 30d)")  # fmt: skip
    parser.add_argument("--history-size", type=_size, default=Bounds().size_bytes, metavar="SIZE",
                        help="how much is kept of them (default: 1G)")  # fmt: skip
    parser.add_argument(
        "--detect", choices=("auto", "off"), default="auto",
        help="give calls a leaf that their agents did not declare, where BPF shows them "
        "(see docs/clients.md)",
    )  # fmt: skip
    parser.add_argument("--clients", type=Path, default=DEFAULT_CLIENTS, metavar="DIR",
                        help="signatures of clients, over the built-in ones "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info"
    )
    parser.add_argument(
        "--ladder",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="lease memory to calls and, under pressure, slow, pause and, last, kill some "
        "(see docs/architecture.md; default: yes)",
    )
    parser.add_argument(
        "--scheduler",
        choices=("auto", "off", "on"),
        default="off",
        help="load the sched_ext scheduler if the kernel has sched_ext, never, or not start "
        "without it (see docs/scheduler.md; default: %(default)s)",
    )
    parser.add_argument(
        "--memory-delay",
        choices=("auto", "off"),
        default="auto",
        help="with the scheduler: hold up, in the kernel, who allocates over its lease "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--release",
        action="store_true",
        help="let calls go on that a dead daemon has frozen or throttled, and exit",
    )
    parser.add_argument(
        "--guard",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="have a small process let calls go on if this one dies (the unit does it by "
        "ExecStopPost=; default: yes)",
    )
    parser.add_argument("--version", action="version", version=agentcg.__version__)
    given = parser.parse_args(arguments)
    return Options(**vars(given))


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


def main() -> None:
    """All of `agentcgd` (`entry` has the short ways)."""
    asked = options()
    logging.basicConfig(
        level=asked.log_level.upper(), format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )  # fmt: skip
    try:
        if asked.release:
            release_root(asked.root)
        else:
            asyncio.run(run(asked))
    except AgentcgError as error:
        log.error("cannot %s: %s", "release" if asked.release else "start", error)
        sys.exit(EXIT_STARTUP)


async def run(asked: Options) -> None:
    """Start, serve until SIGTERM or SIGINT, stop. Raises `StartupError`."""
    notifier = Notifier()
    _raise_file_limit()
    root = Root.open(locate(asked.root), asked.require)
    listening, own = _listen(asked.socket)
    service = Service(
        root,
        PolicyInForce(asked.policies),
        pins=None if asked.bpf == "off" else asked.pins,
        signatures=None if asked.detect == "off" else load_signatures(asked.clients),
        ladder=asked.ladder,
        history=History(asked.state, Bounds(asked.history_age, asked.history_size)),
        scheduler=asked.scheduler != "off",
        memory_delay=asked.memory_delay != "off",
    )
    server = Server(service, ROUTES)
    guard = Guard(root.cgroup.path) if asked.guard and asked.ladder else None
    stop = _signals(service, notifier)
    service.start()
    if asked.bpf == "on":
        await service.require_bpf()
    if asked.scheduler == "on":
        await service.require_scheduler()
    await server.start(listening)
    _settle_memory()
    notifier.ready(f"sessions below {root.cgroup.path}")
    log.info(
        "agentcg %s: %s, sessions below %s", agentcg.__version__, asked.socket, root.cgroup.path
    )
    watchdog = asyncio.create_task(notifier.watchdog())
    await stop.wait()
    log.info("stopping; sessions and calls go on")
    notifier.stopping()
    service.stopping()
    watchdog.cancel()
    await server.stop()
    await service.stop()
    if guard is not None:
        guard.dismiss()
    if own:
        asked.socket.unlink(missing_ok=True)


def _listen(path: Path) -> tuple[socket.socket, bool]:
    """The listening socket, and whether its file is ours to remove."""
    handed = listen.inherited()
    return (handed, False) if handed is not None else (listen.bind(path), True)


def _signals(service: Service, notifier: Notifier) -> asyncio.Event:
    """SIGHUP reloads the policy; the event is set by SIGTERM and SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def reload() -> None:
        notifier.reloading()
        service.reload()
        error = service.core.policy.error
        notifier.ready("policy reloaded" if error is None else "policy NOT reloaded, see the log")

    loop.add_signal_handler(signal.SIGHUP, reload)
    return stop


def _raise_file_limit() -> None:
    """A call costs two descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _settle_memory() -> None:
    """What was loaded by now stays: the collector need not look at it again and again. What
    loading it took goes back to the kernel."""
    gc.collect()
    gc.freeze()
    with suppress(AttributeError):  # glibc has it, musl has not
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main()
