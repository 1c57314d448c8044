# SPDX-License-Identifier: Apache-2.0
"""The command line of tests/vm/guest."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from types import FrameType

from guestvm import progress
from guestvm.bench import bench
from guestvm.channel import Outcome, Request
from guestvm.errors import STATUS_GUEST_FAILED, STATUS_TIMEOUT, STATUS_USAGE, GuestError, UsageError
from guestvm.guest import ALIGN_S, DETERMINISTIC_ENV, WORK, Guest, Options, machine
from guestvm.instance import instances, remove_leftovers
from guestvm.kernels import Kernel, choose_kernels, load_kernels
from guestvm.options import build_parser
from guestvm.snapshot import snapshot
from guestvm.terminal import interactive


def main(argv: list[str]) -> int:
    """Run one subcommand; the exit status."""
    arguments = build_parser().parse_args(argv)
    progress.quiet = arguments.quiet
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        remove_leftovers()
        status: int = COMMANDS[arguments.subcommand](arguments)
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
    return status


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
    kernels = choose_kernels(load_kernels(), arguments.kernel)
    status = 0
    for kernel in kernels:
        if len(kernels) > 1:
            progress.say(f"kernel {kernel.name}")
        guest = Guest(f"run-{os.getpid()}")
        try:
            guest.start(kernel, _options(arguments), detached=False)
            status = _in_guest(guest, arguments) or status
        finally:
            guest.instance.stop()
    return status


def _in_guest(guest: Guest, arguments: argparse.Namespace) -> int:
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
            env=(DETERMINISTIC_ENV if deterministic else {}) | dict(arguments.env),
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
