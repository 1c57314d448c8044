# SPDX-License-Identifier: Apache-2.0
"""Arguments of the command line: the parser, and the small languages of its values."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from guestvm.errors import STATUS_GUEST_FAILED, STATUS_TIMEOUT

MEMORY_MIN_BYTES = 512 << 20
MEMORY_MAX_BYTES = 64 << 30
CPUS_MAX = 64
_SIZE = re.compile(r"(\d{1,6})([MG])i?B?", re.IGNORECASE)

_EPILOG = f"""\
exit status: the command's own (128 + n for signal n); {STATUS_TIMEOUT} when --timeout ended it;
{STATUS_GUEST_FAILED} when the guest, not the command, failed; 2 for a request that makes no sense.
One word after `--` is a line for the guest's shell; several are a program and its arguments.
The checkout is installed in the guest: agentcg and agentcgd in /usr/local/bin, the units, and
its tests in /srv/agentcg/tests; /srv/agentcg is the working directory.
"""


def parse_size(text: str) -> int:
    """Bytes of "3G" or "512M"."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 512M or 3G")
    size_bytes = int(match[1]) << (30 if match[2] in "gG" else 20)
    if not MEMORY_MIN_BYTES <= size_bytes <= MEMORY_MAX_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 512M and 64G")
    return size_bytes


def parse_cpus(text: str) -> int:
    """A number of virtual CPUs."""
    if not text.isdecimal() or not 1 <= int(text) <= CPUS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1 and {CPUS_MAX}")
    return int(text)


def parse_timeout(text: str) -> float:
    """Seconds, more than none."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to a day")
    return seconds


def parse_env(text: str) -> tuple[str, str]:
    """NAME=VALUE, or NAME for our own value of it."""
    name, equals, value = text.partition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value if equals else os.environ.get(name, "")


def parse_push(text: str) -> tuple[Path, str]:
    """SOURCE[:DEST] of --push; DEST is /srv/<name of SOURCE> if it is not said."""
    source, _, target = text.partition(":")
    if not source or (target and not target.startswith("/")):
        raise argparse.ArgumentTypeError(f"{text!r} is not DIR or DIR:/ABSOLUTE/PATH")
    path = Path(source)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no {source}")
    return path, target or f"/srv/{path.resolve().name}"


def parse_fetch(text: str) -> tuple[str, Path]:
    """PATH:DIR of --fetch."""
    source, _, target = text.partition(":")
    if not source.startswith("/") or not target:
        raise argparse.ArgumentTypeError(f"{text!r} is not /PATH/IN/GUEST:DIR")
    return source, Path(target)


def build_parser() -> argparse.ArgumentParser:
    """The parser of tests/vm/guest."""
    parser = argparse.ArgumentParser(
        prog="tests/vm/guest",
        description="Debian 13 guests with the kernels of tests/vm/kernels.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on stderr")
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="prepare the image and the snapshot")
    _machine(build)
    run = commands.add_parser("run", help="run a command in a throw-away guest")
    _machine(run)
    run.add_argument(
        "--together",
        action="store_true",
        help="with several kernels: all at once, each line of output behind its kernel's name",
    )
    _install(run)
    _command(run)
    up = commands.add_parser("up", help="start a guest that stays")
    up.add_argument("name")
    _machine(up)
    _install(up)
    execute = commands.add_parser("exec", help="run a command in a guest that is up")
    execute.add_argument("name")
    _install(execute)
    _command(execute)
    shell = commands.add_parser("shell", help="a login shell in a guest that is up, or a new one")
    shell.add_argument("name", nargs="?", help="a guest that is up; else a throw-away one")
    _machine(shell)
    down = commands.add_parser("down", help="end a guest; its disk is gone")
    which = down.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?")
    which.add_argument("--all", action="store_true")
    commands.add_parser("list", help="the guests that are up")
    commands.add_parser("kernels", help="the names that --kernel takes, the default first")
    bench = commands.add_parser("bench", help="how long the guest takes, as JSON")
    _machine(bench)
    bench.add_argument(
        "--cold-build", action="store_true", help="build anew in an empty cache as well"
    )
    return parser


def _machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kernel",
        metavar="NAME",
        help="one of the list's; all = each of them; a path = this vmlinux or bzImage",
    )
    parser.add_argument(
        "--memory", type=parse_size, default="3G", metavar="SIZE", help="default 3G"
    )
    parser.add_argument(
        "--cpus", type=parse_cpus, metavar="N", help="default 2; 1 with --deterministic"
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="time follows executed instructions: for figures that are compared",
    )
    parser.add_argument("--cold", action="store_true", help="boot instead of using a snapshot")


def _install(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--push",
        action="append",
        type=parse_push,
        default=[],
        metavar="DIR[:DEST]",
        help="copy a directory or a file into the directory DEST (/srv/<name>)",
    )
    parser.add_argument(
        "--no-install", dest="install", action="store_false", help="without the project"
    )


def _command(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fetch",
        action="append",
        type=parse_fetch,
        default=[],
        metavar="PATH:DIR",
        help="afterwards copy a file or directory of the guest into DIR",
    )
    parser.add_argument("--timeout", type=parse_timeout, metavar="S", help="host's seconds")
    parser.add_argument("--cwd", metavar="DIR", help="where the command starts")
    parser.add_argument(
        "-e", "--env", action="append", default=[], type=parse_env, metavar="NAME[=VALUE]"
    )
    parser.add_argument("-i", "--stdin", action="store_true", help="pass our input on")
    parser.add_argument("command", nargs="+", metavar="CMD", help="after --")
