# SPDX-License-Identifier: Apache-2.0
"""The kernel's own interface for memory delay: told apart by its members, and filled in."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from agentcg.bpf import memcg_ops
from agentcg.bpf.btf import Btf, Member
from agentcg.bpf.memcg_ops import FORMS, OPS, Form, form_in, map_value
from agentcg.bpf.objects import object_path
from agentcg.errors import BpfError

DELAY, CHARGE = FORMS
ONLINE = ("handle_cgroup_online", "handle_cgroup_offline")


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
    with pytest.raises(BpfError, match="busy"):
        memcg_ops.MemcgOps.open(CHARGE, 0)
    assert opened.closed == ["maps", "object"]


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
