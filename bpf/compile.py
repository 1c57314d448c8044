# SPDX-License-Identifier: Apache-2.0
"""The helper process: compile the accounting program with bcc, attach it, pin it, end.

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
from typing import Any

from agentcg.bpf import bcc_module, btf, headers, libbpf
from agentcg.bpf.tunables import Tunables
from agentcg.errors import AgentcgError, BpfError

_DIRECTORY = Path(__file__).resolve().parent
MAPS = ("accounts", "events", "lost", "scope")
PROGRAMS = {
    "on_fork": "sched_wakeup_new",
    "on_placed": "cgroup_attach_task",
    "on_exec_1": "sched_process_exec",
    "on_exec_2": "sched_process_exec",
    "on_exec_3": "sched_process_exec",
    "on_exit_1": "sched_process_exit",
    "on_exit_2": "sched_process_exit",
    "on_exit_3": "sched_process_exit",
    "on_victim": "mark_victim",
}


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
    program = load_program(definitions)
    pins = {f"map_{name}": program[name.encode()].map_fd for name in MAPS}
    for function, tracepoint in PROGRAMS.items():
        if function != "on_victim" or "MARK_VICTIM_HAS_TASK" in definitions:
            pins[f"link_{function}"] = _attach(program, function, tracepoint)
    _pin(directory, pins)
    return {"pins": sorted(pins)}


def load_program(definitions: Mapping[str, int]) -> Any:
    """bcc's object of the compiled program with its maps; BpfError with the reason."""
    bcc = bcc_module.load()
    cflags = [f"-I{_DIRECTORY}", *(f"-D{name}={value}" for name, value in definitions.items())]
    with tempfile.TemporaryDirectory(prefix="agentcg-bpf-") as tree:
        headers.write_tree(Path(tree))
        os.environ["BCC_KERNEL_SOURCE"] = tree
        try:
            return bcc.BPF(text=(_DIRECTORY / "accounting.c").read_bytes(), cflags=cflags)
        except Exception as error:  # bcc raises bare Exception for everything
            raise BpfError(f"bcc could not compile the accounting program ({error})") from error


def _attach(program: Any, function: str, tracepoint: str) -> int:
    """Load `function` and attach it; a descriptor of the link."""
    try:
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
