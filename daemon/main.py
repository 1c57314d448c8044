# SPDX-License-Identifier: Apache-2.0
"""agentcgd, the daemon: its start and end, signals, and what systemd wants to know.

Exit status: 0 after a clean stop; 2 for a usage error; 3 if this host, the root, the socket
or another daemon does not let it start (the reason is on standard error); 1 for a bug.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import sys
from pathlib import Path

import agentcg
from agentcg.daemon import memory
from agentcg.daemon.api import listen
from agentcg.daemon.api.routes import ROUTES
from agentcg.daemon.api.server import Server
from agentcg.daemon.guard import Guard
from agentcg.daemon.history import Bounds
from agentcg.daemon.notify import Notifier
from agentcg.daemon.options import Options, options
from agentcg.daemon.service.accounts.history import History
from agentcg.daemon.service.enforce.release import release_root
from agentcg.daemon.service.host.root import Root, locate
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.service import Service
from agentcg.errors import AgentcgError
from agentcg.policies.signature_files import load_signatures

EXIT_STARTUP = 3

log = logging.getLogger("agentcg")


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
    memory.use_one_heap()
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
        scheduler=asked.scheduler,
        agents_alone=asked.scheduler_tasks == "agents",
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
    memory.settle()
    memory.keep()
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


if __name__ == "__main__":
    main()
