# SPDX-License-Identifier: Apache-2.0
"""The helper process: compile the programs with bcc, attach it, pin it, end.

    python3 -m agentcg.bpf.compile --pin /sys/fs/bpf/agentcg/new-KEY [--accounts N] ...

bcc needs LLVM, which takes 100 MB and more; the daemon opens the pins and never sees it. Prints
one JSON object: what was done, or "error" and "remedy" (exit status 1); the log of the compiler
and the verifier goes to stderr. The directory must not exist; on failure it is not left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from agentcg.bpf import bcc_module, btf, headers, libbpf
from agentcg.bpf.tunables import Tunables
from agentcg.errors import AgentcgError, BpfError

_DIRECTORY = Path(__file__).resolve().parent

_EXEC, _EXIT = "sched_process_exec", "sched_process_exit"


class Source(NamedTuple):
    """One program text: the maps that are pinned, and which function hangs where."""

    file: str
    maps: tuple[str, ...]
    functions: Mapping[str, str]


SOURCES = (
    Source(
        "accounting.c",
        ("accounts", "curves", "events", "lost", "scope", "scope_level"),
        {
            "on_fork": "sched_wakeup_new",
            "on_placed": "cgroup_attach_task",
            "on_exec": _EXEC,
            "on_exit": _EXIT,
            "on_victim": "mark_victim",
            "on_sent": "sock_send_length",
            "on_received": "sock_recv_length",
            "on_socket_state": "inet_sock_set_state",
            "on_runtime": "sched_stat_runtime",
        },
    ),
    Source(
        "detection.c",
        ("watched", "names", "at_once", "variables", "news", "news_lost", "detection_scope"),
        {
            "on_born": "sched_wakeup_new",
            "on_ran": _EXEC,
            "on_gone": _EXIT,
        },
    ),
)
# Programs of one text on one tracepoint, where that may be preempted: one alone misses events then
# (once.h).
COPIES = {"on_exec": 3, "on_exit": 3, "on_ran": 3, "on_gone": 3}
PREEMPTIBLE = "TRACEPOINTS_PREEMPTIBLE"
# What not every kernel has: attached where this is defined (btf.py).
OPTIONAL = {
    "on_victim": "MARK_VICTIM_HAS_TASK",
    "on_sent": "HAS_SOCK_SEND_LENGTH",
    "on_received": "HAS_SOCK_RECV_LENGTH",
    "on_socket_state": "HAS_INET_SOCK_SET_STATE",
    "on_runtime": "HAS_SCHED_STAT_RUNTIME",
}
_INSERTED = ("once.h", "sampling.c")


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="agentcg.bpf.compile", description=__doc__)
    parser.add_argument("--pin", type=Path, required=True, metavar="DIR")
    for field in fields(Tunables):
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=int, default=field.default, metavar="N")
    arguments = vars(parser.parse_args())
    started = time.monotonic()
    try:
        directory = arguments.pop("pin")
        done = build(directory, Tunables(**arguments))
    except AgentcgError as error:
        print(json.dumps({"error": error.message, "remedy": error.remedy}))
        return 1
    done["seconds"] = round(time.monotonic() - started, 3)
    done["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(done))
    return 0


def build(directory: Path, tunables: Tunables) -> dict[str, Any]:
    """Compile, attach and pin into `directory`; says what was pinned."""
    definitions = _definitions(tunables)
    loaded = []  # bcc detaches and closes what belongs to an object that is collected
    pins: dict[str, int] = {}
    for source in SOURCES:
        program = load_program(definitions, source.file)
        loaded.append(program)
        pins |= {f"map_{name}": program[name.encode()].map_fd for name in source.maps}
        for function, tracepoint in source.functions.items():
            if function not in OPTIONAL or OPTIONAL[function] in definitions:
                for link in links_of(function, preemptible=PREEMPTIBLE in definitions):
                    pins[link] = _attach(program, function, tracepoint)
    _pin(directory, pins)
    return {"pins": sorted(pins)}


def links_of(function: str, *, preemptible: bool) -> list[str]:
    """Names of the pins of a function's links; `preemptible`: where tracepoints are."""
    copies = COPIES.get(function, 1) if preemptible else 1
    return [f"link_{function}" + (f"_{n + 1}" if n else "") for n in range(copies)]


def load_program(definitions: Mapping[str, int], file: str) -> Any:
    """bcc's object of the compiled program with its maps; BpfError with the reason."""
    bcc = bcc_module.load()
    cflags = [f"-I{_DIRECTORY}", *(f"-D{name}={value}" for name, value in definitions.items())]
    with tempfile.TemporaryDirectory(prefix="agentcg-bpf-") as tree:
        headers.write_tree(Path(tree))
        os.environ["BCC_KERNEL_SOURCE"] = tree
        try:
            return bcc.BPF(text=_text(file), cflags=cflags)
        except Exception as error:  # bcc raises bare Exception for everything
            raise BpfError(f"bcc could not compile {file} ({error})") from error


def _text(file: str) -> bytes:
    """The program with what it includes in it: bcc knows methods of maps in the main text only."""
    text = (_DIRECTORY / file).read_bytes()
    for name in _INSERTED:
        text = text.replace(f'#include "{name}"\n'.encode(), (_DIRECTORY / name).read_bytes())
    return text


def _attach(program: Any, function: str, tracepoint: str) -> int:
    """Load `function` and attach it; a descriptor of the link."""
    try:
        program.funcs.pop(function.encode(), None)  # else bcc gives back the copy that it loaded
        loaded = program.load_func(function.encode(), program.RAW_TRACEPOINT)
        return libbpf.attach_raw_tracepoint(loaded.fd, tracepoint)
    except Exception as error:  # as above; OSError from our own call
        raise BpfError(f"{function} could not be attached to {tracepoint} ({error})") from error


def _definitions(tunables: Tunables) -> dict[str, int]:
    try:
        with btf.Btf.vmlinux() as kernel:
            return btf.definitions(kernel) | tunables.definitions()
    except OSError as error:
        raise BpfError(
            f"the kernel's type information lacks {error.filename}: {error.strerror}",
            remedy="a kernel with CONFIG_DEBUG_INFO_BTF=y is needed",
        ) from error


def _pin(directory: Path, pins: Mapping[str, int]) -> None:
    try:
        directory.mkdir(mode=0o700)
        for name, fd in pins.items():
            libbpf.pin(fd, directory / name)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise BpfError(f"cannot pin {error.filename}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
