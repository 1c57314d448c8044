# SPDX-License-Identifier: Apache-2.0
"""Offsets from BTF, on type information built in the test."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from agentcg.bpf import libbpf
from agentcg.bpf.btf import FIELDS, Btf


class Types:
    """Builds BTF with libbpf's own writer."""

    def __init__(self) -> None:
        self.lib = libbpf.library()
        self.lib.btf__new_empty.restype = ctypes.c_void_p
        self.handle = self.lib.btf__new_empty()
        self.int = self("int", b"int", 4, 0)

    def __call__(self, kind: str, *arguments: object) -> int:
        converted = [ctypes.c_size_t(a) if isinstance(a, int) else a for a in arguments]
        added: int = getattr(self.lib, f"btf__add_{kind}")(ctypes.c_void_p(self.handle), *converted)
        assert added >= 0, (kind, arguments)
        return added

    def structure(
        self, name: bytes | None, size: int, *members: tuple[bytes | None, int, int]
    ) -> int:
        made = self("struct", name, size)
        for member, type_id, offset_bytes in members:
            self("field", member, type_id, offset_bytes * 8, 0)
        return made


@pytest.fixture
def types() -> Iterator[Types]:
    made = Types()
    yield made
    libbpf.library().btf__free(made.handle)


def test_direct_member(types: Types) -> None:
    """The offset of a member, in bytes."""
    types.structure(b"task", 12, (b"pid", types.int, 4), (b"tgid", types.int, 8))
    btf = Btf(types.handle)
    assert (btf.offset("task", "pid"), btf.offset("task", "tgid")) == (4, 8)
    assert (btf.size("task"), [m.name for m in btf.members("task")]) == (12, ["pid", "tgid"])


def test_member_of_anonymous_structure(types: Types) -> None:
    """Members of a nameless structure count as members of the outer one, as in C."""
    inner = types.structure(None, 8, (b"a", types.int, 0), (b"arg_start", types.int, 4))
    types.structure(b"mm", 24, (b"x", types.int, 0), (None, inner, 16))
    assert Btf(types.handle).offset("mm", "arg_start") == 20


def test_path_through_typedef_and_const(types: Types) -> None:
    """A path goes on through typedefs and qualifiers."""
    inner = types.structure(b"state", 8, (b"count", types.int, 0), (b"parent", types.int, 4))
    wrapped = types("typedef", b"state_t", types("const", inner))
    types.structure(b"cgroup", 16, (b"flags", types.int, 0), (b"self", wrapped, 8))
    assert Btf(types.handle).offset("cgroup", "self.parent") == 12


@pytest.mark.parametrize("where", [("task", "gone"), ("nothing", "pid"), ("task", "pid.x")])
def test_what_is_not_there_is_named(types: Types, where: tuple[str, str]) -> None:
    """A missing structure or member is an error that names it."""
    types.structure(b"task", 4, (b"pid", types.int, 0))
    with pytest.raises(FileNotFoundError) as caught:
        Btf(types.handle).offset(*where)
    assert where[0] in caught.value.filename or where[1] in caught.value.filename


@pytest.mark.parametrize("pointer", [True, False])
def test_argument_of_a_tracepoint(types: Types, pointer: bool) -> None:
    """Whether a tracepoint passes a pointer is read from its prototype."""
    task = types("ptr", types.structure(b"task_struct", 4, (b"pid", types.int, 0)))
    data, victim = types("ptr", 0), types("typedef", b"t", task if pointer else types.int)
    prototype = types("func_proto", 0)
    types("func_param", b"data", data)
    types("func_param", b"victim", victim)
    types("typedef", b"btf_trace_mark_victim", types("ptr", prototype))
    assert Btf(types.handle).takes_pointer("mark_victim", 0) is pointer
    assert Btf(types.handle).takes_pointer("mark_victim", 1) is False


def test_running_kernel_has_every_field() -> None:
    """Every field that the program reads exists in the running kernel, at a sane place."""
    with Btf.vmlinux() as kernel:
        for structure, path in FIELDS.values():
            assert 0 <= kernel.offset(structure, path) <= kernel.size(structure)
