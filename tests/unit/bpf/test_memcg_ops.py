# SPDX-License-Identifier: Apache-2.0
"""The kernel's own interface for memory delay: told apart by its members, and filled in."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agentcg.bpf import memcg_ops, objects
from agentcg.bpf.btf import Btf, Member
from agentcg.bpf.memcg_ops import FORMS, OPS, Form, form_in, layout, map_value
from agentcg.bpf.objects import object_path
from agentcg.errors import BpfError

DELAY, CHARGE = FORMS
ONLINE = ("handle_cgroup_online", "handle_cgroup_offline")
# The structure as the patches have it: series 3 to 6 with the first form, 7 with the second.
PATCHES = {
    "delay": """
    void (*handle_cgroup_online)(struct mem_cgroup *memcg);
    void (*handle_cgroup_offline)(struct mem_cgroup *memcg);
    bool (*below_low)(struct mem_cgroup *memcg);
    bool (*below_min)(struct mem_cgroup *memcg);
    unsigned int (*get_high_delay_ms)(struct mem_cgroup *memcg);
""",
    "charge": """
    void (*handle_cgroup_online)(struct mem_cgroup *memcg);
    void (*handle_cgroup_offline)(struct mem_cgroup *memcg);
    bool (*below_low)(struct mem_cgroup *memcg, unsigned long elow, unsigned long usage);
    bool (*below_min)(struct mem_cgroup *memcg, unsigned long emin, unsigned long usage);
    unsigned int (*memcg_charged)(struct mem_cgroup *memcg, unsigned int nr_pages);
    void (*memcg_uncharged)(struct mem_cgroup *memcg, unsigned int nr_pages);
""",
}
# What a kernel with the patches describes in its BTF; compiled with our programs, whose
# declarations have to be the same.
KERNEL = """
#include "memcg_ops.bpf.c"
struct memcg_bpf_ops {{ {members} }};
struct bpf_struct_ops_common_value {{ int refcnt; int state; }};
struct bpf_struct_ops_memcg_bpf_ops {{
    struct bpf_struct_ops_common_value common;
    struct memcg_bpf_ops data __attribute__((aligned(64)));
}};
struct bpf_struct_ops_memcg_bpf_ops described;
#define MEMBER(type, name) typeof(((struct type *)0)->name)
"""
SAME = """
_Static_assert(__builtin_types_compatible_p(
    MEMBER(memcg_bpf_ops, {member}), MEMBER(memcg_bpf_ops___{form}, {member})), "{member}");
"""


class Kernel:
    """Type information of a kernel that has these structures."""

    def __init__(self, **structures: tuple[str, ...]) -> None:
        self._structures = structures

    def members(self, structure: str) -> list[Member]:
        if structure not in self._structures:
            raise FileNotFoundError(2, "No such file or directory", structure)
        return [Member(name, 0, 8 * n) for n, name in enumerate(self._structures[structure])]


def found(kernel: Kernel) -> Form | str:
    described: Any = kernel
    return form_in(described)


@pytest.mark.parametrize(
    ("members", "form"),
    [
        ((*ONLINE, "below_low", "below_min", "get_high_delay_ms"), DELAY),
        ((*ONLINE, "below_low", "below_min", "memcg_charged", "memcg_uncharged"), CHARGE),
        (("memcg_charged", "below_min", "a_later_one", "below_low"), CHARGE),
    ],
)
def test_the_form_is_that_of_the_members(members: tuple[str, ...], form: Form) -> None:
    """Neither a version nor the order decides; members that we do not need may be there."""
    assert found(Kernel(**{OPS: members})) == form


@pytest.mark.parametrize(
    ("kernel", "told"),
    [
        (Kernel(), "no memcg_bpf_ops"),
        (Kernel(mem_cgroup=("css",)), "no memcg_bpf_ops"),
        (Kernel(**{OPS: ("handle_oom", "below_low")}), "not known: handle_oom, below_low"),
    ],
)
def test_what_is_missing_is_said(kernel: Kernel, told: str) -> None:
    """No structure, and one of a form that nobody knows yet, are told apart."""
    assert told in str(found(kernel))


class Opened:
    """A loaded object, and its maps; says what was closed."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    def __getattr__(self, _: str) -> Any:
        return lambda *_: None

    def close(self) -> None:
        self.closed.append("object")


class Maps:
    """Budgets of an opened object."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    def close(self) -> None:
        self._opened.closed.append("maps")


def test_nothing_stays_attached_where_its_maps_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are had first: programs that nobody can tell anything would go on delaying."""
    opened, attached = Opened(), []

    def no_maps(_: Opened) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(memcg_ops, "Object", lambda _: opened)
    monkeypatch.setattr(memcg_ops, "Protections", no_maps)
    monkeypatch.setattr(memcg_ops, "_attach", lambda *_: attached.append(1))
    with pytest.raises(BpfError, match="Too many open files"):
        memcg_ops.MemcgOps.open(DELAY, 0)
    assert (attached, opened.closed) == ([], ["object"])


def test_what_cannot_be_attached_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The maps with it."""
    opened = Opened()

    def refused(*_: object) -> int:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(memcg_ops, "Object", lambda _: opened)
    monkeypatch.setattr(memcg_ops, "Protections", Maps)
    monkeypatch.setattr(memcg_ops, "_attach", refused)
    with pytest.raises(BpfError, match="another program is there already"):
        memcg_ops.MemcgOps.open(CHARGE, 0)
    assert opened.closed == ["maps", "object"]


@pytest.mark.parametrize(
    ("form", "refusals", "tried"),
    [
        (DELAY, [], [1]),
        (CHARGE, [], [0x81]),
        (DELAY, [22], [1, 0x81]),  # EINVAL
        (CHARGE, [95], [0x81, 1]),  # EOPNOTSUPP
        (CHARGE, [22, 22], [0x81, 1]),
        (DELAY, [16], [1]),  # EBUSY
    ],
)
def test_it_is_attached_as_the_kernels_series_does_it(
    monkeypatch: pytest.MonkeyPatch, form: Form, refusals: list[int], tried: list[int]
) -> None:
    """The two series are told of the cgroup by different flags; a kernel that refuses those of its
    form is asked by the other's, once. Programs further down are always allowed."""
    flags = []

    def link(map_fd: int, cgroup_fd: int, asked: int) -> int:
        flags.append(asked)
        if len(flags) <= len(refusals):
            raise OSError(refusals[len(flags) - 1], "refused")
        return 7

    monkeypatch.setattr(memcg_ops, "_link", link)
    if len(refusals) == len(tried):
        with pytest.raises(OSError, match="refused"):
            memcg_ops._linked(3, form, 4)
    else:
        assert memcg_ops._linked(3, form, 4) == 7
    assert flags == tried


@pytest.mark.parametrize("form", FORMS)
def test_each_form_has_its_programs(form: Form) -> None:
    """The object has a program for each member that the form calls, and a structure of these
    members and no others."""
    with Btf.of_object(object_path("memcg_ops")) as compiled:
        assert all(compiled.has_function(form.program(member)) for member in form.members)
        members = [member.name for member in compiled.members(f"{OPS}___{form.name}")]
    assert members == list(form.members)


def test_programs_stand_where_the_kernel_has_its_members() -> None:
    """The value of the map is empty but for the descriptors, at the kernel's offsets."""
    value = map_value(48, {16: 7, 40: 9})
    assert struct.unpack("=6Q", value) == (0, 0, 7, 0, 0, 9)


def patched_kernel(form: Form, directory: Path) -> Btf:
    """Type information of a kernel that is built with the patches of this form."""
    code = KERNEL.format(members=PATCHES[form.name])
    code += "".join(SAME.format(form=form.name, member=member) for member in form.members)
    found = objects.compiler()
    assert found is not None
    made = directory / "kernel.o"
    command = [found[0], "-target", "bpf", "-g", "-O2", "-I", str(objects.DIRECTORY)]
    command += ["-x", "c", "-c", "-o", str(made), "-"]
    subprocess.run(command, input=code, text=True, check=True)
    return Btf.of_object(made)


@pytest.mark.parametrize("form", FORMS)
def test_a_kernel_with_the_patches_has_the_form_where_we_write(form: Form, tmp_path: Path) -> None:
    """Of types as such a kernel describes them: the form is found, its members are declared here
    as they are there, and stand in the map's value behind the kernel's own part."""
    with patched_kernel(form, tmp_path) as kernel:
        assert form_in(kernel) == form
        size, offsets = layout(kernel, form)
    assert size == 128
    assert offsets == {member: 64 + 8 * (2 + n) for n, member in enumerate(form.members)}
