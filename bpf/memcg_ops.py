# SPDX-License-Identifier: Apache-2.0
"""Memory delay and protection through the kernel's struct memcg_bpf_ops (memcg_ops.bpf.c).

No released kernel has it: the patches are in review, and came in two forms. Which of them the
running kernel has, if any, is read from its BTF by the names of the members.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Mapping
from ctypes import c_uint64
from dataclasses import dataclass

from agentcg.bpf import btf, budgets, libbpf
from agentcg.bpf.budgets import BudgetMaps
from agentcg.bpf.loader import Object
from agentcg.bpf.objects import object_path
from agentcg.bpf.scheduler_records import ProtectionRecord
from agentcg.closing import Closing
from agentcg.errors import BpfError, InvalidInput

OPS = "memcg_bpf_ops"
_VALUE = f"bpf_struct_ops_{OPS}"  # what the kernel calls the value of such a map
_LINK_CREATE, _STRUCT_OPS, _ALLOW_OVERRIDE = 28, 44, 1  # linux/bpf.h
_CGROUP_FD = 1 << 7  # in the later form's linux/bpf.h: target_fd is a cgroup's
_BUSY = "another program is there already, at this cgroup, above or below it"
_BPF = {"x86_64": 321}.get(platform.machine(), 280)  # bpf(2); 280 in asm-generic/unistd.h


@dataclass(frozen=True)
class Form:
    """One form of the interface: our map for it, and the members that it calls."""

    name: str
    members: tuple[str, ...]
    flags: int
    """How it is attached; besides, a cgroup further down may have another program."""

    def __str__(self) -> str:
        """For people: what the kernel asks."""
        return f"{OPS}, {self.members[-1]}"

    @property
    def ops(self) -> str:
        """The name of the struct_ops map."""
        return f"{self.name}_ops"

    def program(self, member: str) -> str:
        """The name of the program for a member."""
        return f"{self.name}_{member}"


FORMS = (
    Form("delay", ("below_low", "below_min", "get_high_delay_ms"), 0),
    Form("charge", ("below_low", "below_min", "memcg_charged"), _CGROUP_FD),
)


def probe() -> Form | str:
    """The form that the running kernel has, or why it has none."""
    try:
        kernel = btf.Btf.vmlinux()
    except OSError as error:
        return f"{error.filename}: {error.strerror}; CONFIG_DEBUG_INFO_BTF=y is needed"
    with kernel:
        return form_in(kernel)


def form_in(kernel: btf.Btf) -> Form | str:
    """The form that this BTF describes, or why there is none."""
    try:
        members = [member.name for member in kernel.members(OPS)]
    except FileNotFoundError:
        return f"this kernel has no {OPS} (no release has: patches in review)"
    known = next((form for form in FORMS if set(form.members) <= set(members)), None)
    return known or f"this kernel's {OPS} has a form that is not known: {', '.join(members)}"


def layout(kernel: btf.Btf, form: Form) -> tuple[int, dict[str, int]]:
    """How large the kernel's map value is, and where in it each member of the form stands."""
    offsets = {member: kernel.offset(_VALUE, f"data.{member}") for member in form.members}
    return kernel.size(_VALUE), offsets


def map_value(size: int, programs: Mapping[int, int]) -> bytes:
    """The value of a struct_ops map of so many bytes: descriptors of programs, by offset."""
    value = bytearray(size)
    for offset, fd in programs.items():
        struct.pack_into("=Q", value, offset, fd)
    return bytes(value)


class MemcgOps(Closing):
    """Programs that a cgroup and all below it ask; `budgets` is how they are told.

    `with` or `close` takes them out again, and so does the end of the process.
    """

    def __init__(self, form: Form, opened: Object, maps: Protections, link: int) -> None:
        """`open` is the way to get one."""
        self.form = form
        self.budgets = maps
        self._object = opened
        self._link = link

    @classmethod
    def open(cls, form: Form, cgroup_fd: int) -> MemcgOps:
        """Load the form that `probe` found for a cgroup and all below it. BpfError says why not.

        A cgroup further down may have another program instead of ours.
        """
        opened = Object(object_path("memcg_ops"))
        maps = None
        try:
            budgets.settle(opened)
            for other in FORMS:
                if other != form:
                    opened.leave_out_map(other.ops)
                    opened.leave_out(*map(other.program, other.members))
            opened.load()
            maps = Protections(opened)
            link = _attach(opened, form, cgroup_fd)
            return cls(form, opened, maps, link)  # nothing can fail after it
        except BaseException as error:
            if maps is not None:
                maps.close()
            opened.close()
            if isinstance(error, OSError):
                reason = _BUSY if error.errno == errno.EBUSY else error.strerror
                raise BpfError(f"{OPS} cannot be attached: {reason}") from error
            raise

    def close(self) -> None:
        """Detach; the kernel decides alone again."""
        if self._link >= 0:
            os.close(self._link)
            self._link = -1
            self.budgets.close()
        self._object.close()


class Protections(BudgetMaps):
    """Budgets, and what is left to a cgroup when others are reclaimed."""

    def __init__(self, opened: Object) -> None:
        """The maps of the loaded object."""
        self._protections = opened.map("protections", c_uint64, ProtectionRecord)
        self._protected: set[int] = set()
        super().__init__(opened)

    def protect(self, cgroup_id: int, low_bytes: int, min_bytes: int = 0) -> None:
        """Count this cgroup, and those below it, as protected while it uses less than so much.

        As memory.low and memory.min, in addition to them; 0 and 0: not any more. InvalidInput for
        values that make no sense, BpfError when there is no room for one more.
        """
        for field, value in (("low_bytes", low_bytes), ("min_bytes", min_bytes)):
            if value < 0:
                raise InvalidInput(field, value, "0 or more")
        if not low_bytes and not min_bytes:
            self._protections.remove(cgroup_id)
            self._protected.discard(cgroup_id)
        else:
            try:
                self._protections.put(cgroup_id, ProtectionRecord(low_bytes, min_bytes))
            except OSError as error:
                raise BpfError(f"cgroup {cgroup_id} is not protected: {error.strerror}") from error
            self._protected.add(cgroup_id)
        self.heartbeat()

    def close(self) -> None:
        """Let go of the maps."""
        self._protections.close()
        super().close()

    def _promised(self) -> int:
        return len(self._protected)


def _attach(opened: Object, form: Form, cgroup_fd: int) -> int:
    """A descriptor of the link. libbpf attaches struct_ops to no cgroup, so bpf(2) is called here;
    the map's value, which libbpf would write, is written here, too."""
    with btf.Btf.vmlinux() as kernel:
        size, offsets = layout(kernel, form)
    programs = {at: opened.program_fd(form.program(member)) for member, at in offsets.items()}
    value = (ctypes.c_char * size).from_buffer_copy(map_value(size, programs))
    ops = opened.map(form.ops, ctypes.c_uint32, type(value))
    try:
        ops.put(0, value)
        return _linked(ops.fd, form, cgroup_fd)
    finally:
        ops.close()


def _linked(map_fd: int, form: Form, cgroup_fd: int) -> int:
    """As the form's series does it; else as the other, on which a kernel's may rest by now."""
    try:
        return _link(map_fd, cgroup_fd, form.flags | _ALLOW_OVERRIDE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        return _link(map_fd, cgroup_fd, form.flags ^ _CGROUP_FD | _ALLOW_OVERRIDE)


def _link(map_fd: int, cgroup_fd: int, flags: int) -> int:
    """Attach a filled map to a cgroup. It is named twice: each series looks in one place."""
    # union bpf_attr, link_create: map_fd, target_fd, attach_type, flags, cgroup.relative_fd
    request = struct.pack("=IIIIIIQ", map_fd, cgroup_fd, _STRUCT_OPS, flags, cgroup_fd, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    link: int = libc.syscall(_BPF, _LINK_CREATE, request, len(request))
    return libbpf.checked(link, OPS)
