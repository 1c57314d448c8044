# SPDX-License-Identifier: Apache-2.0
"""The command line of tests/vm/guest."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from guestvm import progress
from guestvm.bench import bench
from guestvm.channel import Outcome, Request
from guestvm.errors import STATUS_GUEST_FAILED, STATUS_TIMEOUT, STATUS_USAGE, GuestError, UsageError
from guestvm.guest import ALIGN_S, DETERMINISTIC_ENV, WORK, Guest, Options, machine
from guestvm.instance import instances, remove_leftovers
from guestvm.kernels import Kernel, choose_kernels, load_kernels
from guestvm.options import build_parser
from guestvm.project import build_objects
from guestvm.rootfs import kernel_version
from guestvm.snapshot import snapshot
from guestvm.terminal import interactive
from guestvm.together import together


def main(argv: list[str]) -> int:
    """Run one subcommand; the exit status."""
    arguments = build_parser().parse_args(argv)
    progress.quiet = arguments.quiet
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    return _guarded(lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    remove_leftovers()
    status: int = COMMANDS[arguments.subcommand](arguments)
    return status


def _guarded(command: Callable[[], int]) -> int:
    """Run it; what goes wrong becomes a word to the user and an exit status."""
    try:
        return command()
    except UsageError as error:
        progress.warn(str(error))
        return STATUS_USAGE
    except GuestError as error:
        progress.warn(f"FAILED (this is not the command's status): {error}")
        return STATUS_GUEST_FAILED
    except BrokenPipeError:  # whoever reads our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _interrupted(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _options(arguments: argparse.Namespace) -> Options:
    cpus = arguments.cpus or (1 if arguments.deterministic else 2)
    return Options(arguments.memory, cpus, arguments.deterministic, arguments.cold)


def _build(arguments: argparse.Namespace) -> int:
    for kernel in choose_kernels(load_kernels(), arguments.kernel):
        built = machine(kernel, _options(arguments))
        if not arguments.cold and not arguments.deterministic:
            snapshot(built)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    kernels = {one.name: one for one in choose_kernels(load_kernels(), arguments.kernel)}
    numbers = {name: number for number, name in enumerate(kernels)}

    def run(name: str) -> int:
        share = {"AGENTCG_GUEST_SHARE": f"{numbers[name]}/{len(kernels)}"}
        return _guarded(lambda: _run_on(kernels[name], arguments, share))

    if arguments.together and len(kernels) > 1:
        if arguments.install:
            build_objects()  # once: else each would, at the same time
        return together(kernels, run)
    statuses = [run(name) for name in kernels]
    return next((status for status in statuses if status), 0)


def _run_on(kernel: Kernel, arguments: argparse.Namespace, share: dict[str, str]) -> int:
    """Run the command in a guest of its own; `share` says which of how many guests it is in."""
    options = _options(arguments)
    if arguments.kernel:
        release = kernel_version(machine(kernel, options).root.parent, kernel)
        progress.say(f"kernel {kernel.name}: {release}")
    guest = Guest(f"run-{os.getpid()}")
    try:
        guest.start(kernel, options, detached=False)
        return _in_guest(guest, arguments, share)
    finally:
        guest.instance.stop()


def _in_guest(
    guest: Guest, arguments: argparse.Namespace, environment: dict[str, str] | None = None
) -> int:
    """What `run` and `exec` do once the guest is there."""
    deterministic = getattr(arguments, "deterministic", False)
    if arguments.install:
        guest.install()
    for source, target in arguments.push:
        guest.push(source, target)
    if deterministic:
        guest.calm()
    outcome = guest.run(
        Request(
            arguments.command
            if len(arguments.command) > 1
            else ["/bin/sh", "-c", *arguments.command],
            cwd=arguments.cwd or (WORK if arguments.install else "/root"),
            env=(environment or {})
            | (DETERMINISTIC_ENV if deterministic else {})
            | dict(arguments.env),
            stdin=arguments.stdin,
            align_s=ALIGN_S if deterministic else 0,
        ),
        stdin=sys.stdin.buffer if arguments.stdin else None,
        timeout_s=arguments.timeout,
    )
    for path, directory in arguments.fetch:
        guest.fetch(path, directory)
    return _status(outcome, arguments.timeout)


def _status(outcome: Outcome, timeout_s: float | None) -> int:
    if outcome.timed_out:
        progress.warn(f"the command did not end within {timeout_s:g} s: killed")
        return STATUS_TIMEOUT
    return outcome.status


def _up(arguments: argparse.Namespace) -> int:
    guest = Guest(arguments.name)
    guest.start(_one_kernel(arguments), _options(arguments), detached=True)
    try:
        if arguments.install:
            guest.install()
        for source, target in arguments.push:
            guest.push(source, target)
    except BaseException:
        guest.instance.stop()
        raise
    return 0


def _one_kernel(arguments: argparse.Namespace) -> Kernel:
    kernels = choose_kernels(load_kernels(), arguments.kernel)
    if len(kernels) > 1:
        raise UsageError("a guest has one kernel")
    return kernels[0]


def _running(name: str) -> Guest:
    guest = Guest(name)
    if not guest.instance.is_running():
        raise UsageError(f"guest {name} is not running; start it: tests/vm/guest up {name}")
    return guest


def _exec(arguments: argparse.Namespace) -> int:
    return _in_guest(_running(arguments.name), arguments)


def _shell(arguments: argparse.Namespace) -> int:
    if arguments.name:
        return _login(_running(arguments.name))
    guest = Guest(f"shell-{os.getpid()}")
    try:
        guest.start(_one_kernel(arguments), _options(arguments), detached=False)
        return _login(guest)
    finally:
        guest.instance.stop()


def _login(guest: Guest) -> int:
    guest.install()
    return interactive(guest, ["/bin/bash", "-l"], WORK)


def _down(arguments: argparse.Namespace) -> int:
    names = [one.name for one in instances()] if arguments.all else [arguments.name]
    for name in names:
        guest = Guest(name)
        if not guest.instance.is_running():
            progress.say(f"guest {name} is not running")
        guest.instance.stop()
    return 0


def _list(_arguments: argparse.Namespace) -> int:
    for one in instances():
        print(one.name)
    return 0


def _kernels(_arguments: argparse.Namespace) -> int:
    for kernel in load_kernels():
        print(kernel.name)
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    figures = [
        bench(kernel, _options(arguments), cold_build=arguments.cold_build)
        for kernel in choose_kernels(load_kernels(), arguments.kernel)
    ]
    print(json.dumps(figures, indent=2))
    return 0


COMMANDS = {
    "bench": _bench,
    "build": _build,
    "run": _run,
    "up": _up,
    "exec": _exec,
    "shell": _shell,
    "down": _down,
    "list": _list,
    "kernels": _kernels,
}
