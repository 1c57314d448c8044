# SPDX-License-Identifier: Apache-2.0
"""The programs for the kernel's own interface, also on kernels that have none: the verifier takes
them, and they judge the kernel's own memory cgroups.

They are loaded as programs of a tracepoint that names a memory cgroup at each page fault; what
they answer is nobody's there. A kernel without that tracepoint has only the answer that it lacks
the interface.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from ctypes import c_char_p, c_int, c_void_p
from pathlib import Path

import pytest

from agentcg.bpf import budgets, libbpf
from agentcg.bpf.btf import Btf
from agentcg.bpf.loader import Object
from agentcg.bpf.memcg_ops import FORMS, Form, Protections
from agentcg.bpf.objects import object_path
from agentcg.cgroups import Cgroup
from cgroup_support import own_cgroup, until

TRACEPOINT = "count_memcg_events"
TRACING, TRACE_RAW_TP = 26, 23  # linux/bpf.h
PATIENCE_S = 300.0
MIB = 1 << 20
MS = 1_000_000
GROW = "import time; kept = bytearray(b'x' * (32 << 20)); time.sleep(1000)"


def described() -> bool:
    with Btf.vmlinux() as kernel:
        return kernel.has_tracepoint(TRACEPOINT)


@contextlib.contextmanager
def loaded(tmp_path: Path) -> Iterator[Object]:
    """All programs of both forms, each as one of the tracepoint. Without the structures that they
    are in, which libbpf looks for in the kernel and does not find."""
    changed = tmp_path / "memcg_ops.bpf.o"
    changed.write_bytes(
        object_path("memcg_ops").read_bytes().replace(b".struct_ops.link", b".for_no_kernel__")
    )
    library = libbpf.library()
    with Object(changed) as opened:
        budgets.settle(opened)
        for program in (opened._program(form.program(m)) for form in FORMS for m in form.members):
            for function, kinds, values in (
                ("set_type", [c_int], [TRACING]),
                ("set_expected_attach_type", [c_int], [TRACE_RAW_TP]),
                ("set_attach_target", [c_int, c_char_p], [0, TRACEPOINT.encode()]),
            ):
                call = getattr(library, f"bpf_program__{function}")
                call.argtypes = [c_void_p, *kinds]
                assert call(program, *values) == 0
        opened.load()
        yield opened


def attach(opened: Object, *programs: str) -> None:
    function = libbpf.library().bpf_program__attach_trace
    function.restype, function.argtypes = c_void_p, [c_void_p]
    for program in programs:
        opened._attach(function, opened._program(program), program)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_cgroup_over_its_budget_is_told_to_wait(form: Form, tmp_path: Path) -> None:
    """Each form is verified, and asked about the memory cgroup of each page fault: who is over a
    budget is to wait as long as it says, by its priority; who is below one is not."""
    if not described():
        return
    with loaded(tmp_path) as opened, own_cgroup() as over, own_cgroup() as below:
        told = Protections(opened)
        told.set(over.id, 8 * MIB, 0, "normal", 400 * MS)
        told.set(below.id, 1 << 40, 0, "normal", 400 * MS)
        told.protect(over.id, 1 << 40)
        attach(opened, *map(form.program, form.members))

        def judged() -> bool:
            told.heartbeat()
            return count_of(told, over.id) > 100

        with growing(over), growing(below):
            until(judged, PATIENCE_S)
        found = told.clear(over.id)
        assert found is not None
        assert (found.longest_ns, found.total_ns) == (100 * MS, found.count * 100 * MS)
        assert 0 < found.overshoot_bytes < 64 * MIB
        assert count_of(told, below.id) == 0
        told.close()


def count_of(told: Protections, cgroup_id: int) -> int:
    found = told.delays(cgroup_id)
    assert found is not None
    return found.count


@contextlib.contextmanager
def growing(cgroup: Cgroup) -> Iterator[None]:
    """A process that begins in the cgroup, and so charges all that it has there."""
    words = ["sh", "-c", 'echo 0 >"$0/cgroup.procs"; exec "$@"', str(cgroup.path)]
    with subprocess.Popen([*words, sys.executable, "-I", "-S", "-c", GROW]) as child:
        try:
            yield
        finally:
            child.kill()
