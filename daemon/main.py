# SPDX-License-Identifier: Apache-2.0
"""agentcgd, the daemon: options, signals, and what systemd wants to know.

Exit status: 0 after a clean stop; 2 for a usage error; 3 if this host, the root, the socket
or another daemon does not let it start (the reason is on standard error); 1 for a bug.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import agentcg
from agentcg.bpf.pins import PIN_ROOT
from agentcg.daemon.api import listen
from agentcg.daemon.api.routes import ROUTES
from agentcg.daemon.api.server import Server
from agentcg.daemon.notify import Notifier
from agentcg.daemon.service.ladder_apply import release_all
from agentcg.daemon.service.root import AUTO, Root, locate
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.service import Service
from agentcg.errors import AgentcgError

EXIT_STARTUP = 3
DEFAULT_SOCKET = Path("/run/agentcg/agentcg.sock")
DEFAULT_POLICIES = Path("/etc/agentcg/policies.d")
REQUIRED = "memory,cpu,pids"
_KNOWN_CONTROLLERS = ("memory", "cpu", "pids", "io", "cpuset", "hugetlb", "misc", "rdma", "dmem")

log = logging.getLogger("agentcg")


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    root: str
    socket: Path
    policies: Path
    require: frozenset[str]
    bpf: str
    pins: Path
    log_level: str
    ladder: bool
    release: bool


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
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info"
    )
    parser.add_argument(
        "--ladder",
        action="store_true",
        help="under memory pressure slow, pause and, last, kill calls (see docs/architecture.md)",
    )
    parser.add_argument(
        "--release",
        action="store_true",
        help="let calls go on that a dead daemon has frozen or throttled, and exit",
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


def main() -> None:
    """Entry point of `agentcgd`."""
    asked = options()
    logging.basicConfig(
        level=asked.log_level.upper(), format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )  # fmt: skip
    try:
        if asked.release:
            release(asked)
        else:
            asyncio.run(run(asked))
    except AgentcgError as error:
        log.error("cannot %s: %s", "release" if asked.release else "start", error)
        sys.exit(EXIT_STARTUP)


def release(asked: Options) -> None:
    """What a daemon that died holds back goes on. Raises `StartupError` while one is alive."""
    path = locate(asked.root)
    if not path.is_dir():
        return
    root = Root.open(path, frozenset())
    release_all(root)
    root.close()


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
        ladder=asked.ladder,
    )
    server = Server(service, ROUTES)
    stop = _signals(service, notifier)
    service.start()
    if asked.bpf == "on":
        await service.require_bpf()
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
    """What was loaded by now stays: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    main()
