# SPDX-License-Identifier: Apache-2.0
"""Where the fields of kernel structures are, according to the kernel's own type information.

The kernel describes its types in /sys/kernel/btf/vmlinux (Documentation/bpf/btf.rst). Reading
offsets from there needs no kernel headers and is right for exactly the kernel that runs.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from ctypes import c_int32, c_uint32
from pathlib import Path
from typing import NamedTuple

from agentcg.bpf import libbpf
from agentcg.closing import Closing

# Documentation/bpf/btf.rst, section 2.2: values of BTF_KIND_*.
_PTR, _STRUCT, _UNION, _ENUM, _TYPEDEF, _VOLATILE, _CONST, _RESTRICT = 2, 4, 5, 6, 8, 9, 10, 11
_FUNC, _FUNC_PROTO, _TYPE_TAG = 12, 13, 18
_POINTER_BYTES = ctypes.sizeof(ctypes.c_void_p)
_WRAPPERS = frozenset({_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG})

# name in the program: structure, path to the member
FIELDS = {
    "OFF_TASK_PID": ("task_struct", "pid"),
    "OFF_TASK_TGID": ("task_struct", "tgid"),
    "OFF_TASK_COMM": ("task_struct", "comm"),
    "OFF_TASK_EXIT_CODE": ("task_struct", "exit_code"),
    "OFF_TASK_START_BOOTTIME": ("task_struct", "start_boottime"),
    "OFF_TASK_SELF_EXEC_ID": ("task_struct", "self_exec_id"),
    "OFF_TASK_GROUP_LEADER": ("task_struct", "group_leader"),
    "OFF_TASK_MM": ("task_struct", "mm"),
    "OFF_TASK_SIGNAL": ("task_struct", "signal"),
    "OFF_TASK_REAL_PARENT": ("task_struct", "real_parent"),
    "OFF_TASK_CRED": ("task_struct", "cred"),
    "OFF_CRED_UID": ("cred", "uid"),
    "OFF_TASK_CGROUPS": ("task_struct", "cgroups"),
    "OFF_MM_ARG_START": ("mm_struct", "arg_start"),
    "OFF_MM_ARG_END": ("mm_struct", "arg_end"),
    "OFF_MM_ENV_START": ("mm_struct", "env_start"),
    "OFF_MM_ENV_END": ("mm_struct", "env_end"),
    "OFF_PID_NUMBERS": ("pid", "numbers"),
    "OFF_SIGNAL_PIDS": ("signal_struct", "pids"),
    "OFF_SIGNAL_LIVE": ("signal_struct", "live"),
    "OFF_SIGNAL_FLAGS": ("signal_struct", "flags"),
    "OFF_SIGNAL_GROUP_EXIT_CODE": ("signal_struct", "group_exit_code"),
    "OFF_CSS_SET_DFL_CGRP": ("css_set", "dfl_cgrp"),
    "OFF_CGROUP_KN": ("cgroup", "kn"),
    "OFF_CGROUP_SELF_PARENT": ("cgroup", "self.parent"),
    "OFF_CGROUP_LEVEL": ("cgroup", "level"),
    "OFF_KERNFS_NODE_ID": ("kernfs_node", "id"),
}

# The same, of what not every kernel has or not every configuration.
OPTIONAL_FIELDS = {
    "OFF_TASK_RUN_DELAY": ("task_struct", "sched_info.run_delay"),  # CONFIG_SCHED_INFO
    "OFF_MEMCG_USAGE": ("mem_cgroup", "memory.usage"),  # CONFIG_MEMCG
    "OFF_SOCK_FAMILY": ("sock", "__sk_common.skc_family"),  # CONFIG_NET
}
OPTIONAL_TRACEPOINTS = (
    "sock_send_length", "sock_recv_length", "inet_sock_set_state", "sched_stat_runtime",
)  # fmt: skip


class _Type(ctypes.Structure):
    """struct btf_type."""

    _fields_ = (("name_off", c_uint32), ("info", c_uint32), ("size_or_type", c_uint32))

    @property
    def kind(self) -> int:
        return int(self.info) >> 24 & 0x1F

    @property
    def count(self) -> int:
        return int(self.info) & 0xFFFF


class _Member(ctypes.Structure):
    """struct btf_member."""

    _fields_ = (("name_off", c_uint32), ("type", c_uint32), ("offset", c_uint32))


class _Enumerator(ctypes.Structure):
    """struct btf_enum."""

    _fields_ = (("name_off", c_uint32), ("value", c_int32))


class Member(NamedTuple):
    """One member of a structure; `name` is "" for an anonymous one."""

    name: str
    type_id: int
    offset_bytes: int


class Btf(Closing):
    """Type information of one object. Closes as a context manager."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    def vmlinux(cls) -> Btf:
        """That of the running kernel; OSError where it has none (CONFIG_DEBUG_INFO_BTF)."""
        return cls(libbpf.checked_pointer(libbpf.library().btf__load_vmlinux_btf(), "kernel BTF"))

    @classmethod
    def loaded(cls, btf_id: int) -> Btf:
        """That of a loaded program or map, by its id in the kernel (needs CAP_SYS_ADMIN)."""
        handle = libbpf.library().btf__load_from_kernel_by_id(btf_id)
        return cls(libbpf.checked_pointer(handle, f"BTF {btf_id}"))

    @classmethod
    def of_object(cls, path: Path) -> Btf:
        """That of an object file; OSError where it has none."""
        handle = libbpf.library().btf__parse_elf(os.fsencode(path), None)
        return cls(libbpf.checked_pointer(handle, str(path)))

    def close(self) -> None:
        """Free it."""
        handle, self._handle = self._handle, 0
        libbpf.library().btf__free(handle)  # of 0 does nothing

    def offset(self, structure: str, path: str) -> int:
        """Bytes from the start of `structure` to the member `path` ("a" or "a.b").

        Members of anonymous structures and unions count as members, as in C. OSError (ENOENT)
        where there is none.
        """
        type_id = self._find(structure, _STRUCT)
        total = 0
        for name in path.split("."):
            member = self._member(type_id, name)
            if member is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), f"{structure}.{path}")
            total += member.offset_bytes
            type_id = member.type_id
        return total

    def members(self, structure: str) -> list[Member]:
        """Direct members of `structure`, in order."""
        return list(self._members(self._find(structure, _STRUCT)))

    def has_function(self, name: str) -> bool:
        """Whether the kernel has a function of this name that programs may call or attach to."""
        return bool(libbpf.library().btf__find_by_name_kind(self._handle, name.encode(), _FUNC) > 0)

    def size(self, structure: str) -> int:
        """Bytes that a `structure` occupies."""
        return int(self._type(self._find(structure, _STRUCT)).size_or_type)

    def enumerator(self, enumeration: str, name: str) -> int:
        """The value of `name`; OSError (ENOENT) where there is none."""
        type_id = self._find(enumeration, _ENUM)
        values = _Enumerator * self._type(type_id).count
        for raw in values.from_address(self._address(type_id) + ctypes.sizeof(_Type)):
            found: bytes = libbpf.library().btf__name_by_offset(self._handle, raw.name_off)
            if found.decode() == name:
                return int(raw.value)
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), f"{enumeration}.{name}")

    def has_tracepoint(self, tracepoint: str) -> bool:
        """Whether the kernel has this tracepoint."""
        return self.has_type(f"btf_trace_{tracepoint}")

    def has_type(self, name: str) -> bool:
        """Whether there is a typedef of this name."""
        try:
            self._find(name, _TYPEDEF)
        except FileNotFoundError:
            return False
        return True

    def takes_pointer(self, tracepoint: str, index: int) -> bool:
        """Whether argument `index` (0 = first) of a tracepoint is a pointer.

        BTF has the prototype of each tracepoint as a typedef named btf_trace_<name>, whose first
        parameter is the probe's own data.
        """
        pointer = self._type(self._find(f"btf_trace_{tracepoint}", _TYPEDEF)).size_or_type
        prototype_id = self._type(pointer).size_or_type
        prototype = self._type(prototype_id)
        if prototype.kind != _FUNC_PROTO or index + 1 >= prototype.count:
            return False
        address = self._address(prototype_id) + ctypes.sizeof(_Type) + 8 * (index + 1)
        parameter_type = c_uint32.from_address(address + 4).value
        return self._type(self._resolve(parameter_type)).kind == _PTR

    def _find(self, name: str, kind: int) -> int:
        type_id: int = libbpf.library().btf__find_by_name_kind(self._handle, name.encode(), kind)
        if type_id < 0:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return type_id

    def _address(self, type_id: int) -> int:
        pointer = libbpf.library().btf__type_by_id(self._handle, type_id)
        return libbpf.checked_pointer(pointer, f"BTF type {type_id}")

    def _type(self, type_id: int) -> _Type:
        return _Type.from_address(self._address(type_id))

    def _resolve(self, type_id: int) -> int:
        while self._type(type_id).kind in _WRAPPERS:
            type_id = int(self._type(type_id).size_or_type)
        return type_id

    def _members(self, type_id: int) -> Iterator[Member]:
        type_id = self._resolve(type_id)
        head = self._type(type_id)
        if head.kind not in (_STRUCT, _UNION):
            return
        # With kind_flag set, the upper 8 bits of an offset are the size of a bit field.
        mask = 0xFFFFFF if head.info >> 31 else 0xFFFFFFFF
        array = _Member * head.count
        for raw in array.from_address(self._address(type_id) + ctypes.sizeof(_Type)):
            name: bytes = libbpf.library().btf__name_by_offset(self._handle, raw.name_off)
            yield Member(name.decode(), int(raw.type), (int(raw.offset) & mask) // 8)

    def _member(self, type_id: int, name: str) -> Member | None:
        for member in self._members(type_id):
            if member.name == name:
                return member
            inner = None if member.name else self._member(member.type_id, name)
            if inner is not None:
                return inner._replace(offset_bytes=inner.offset_bytes + member.offset_bytes)
        return None


def definitions(btf: Btf) -> dict[str, int]:
    """The -D definitions that the program needs, for the kernel described by `btf`."""
    values = {name: btf.offset(*where) for name, where in FIELDS.items()}
    for name, where in OPTIONAL_FIELDS.items():
        with suppress(FileNotFoundError):
            values[name] = btf.offset(*where)
    with suppress(FileNotFoundError):
        memory = btf.enumerator("cgroup_subsys_id", "memory_cgrp_id")
        values["OFF_CGROUP_MEMORY"] = btf.offset("cgroup", "subsys") + memory * _POINTER_BYTES
    for tracepoint in OPTIONAL_TRACEPOINTS:
        if btf.has_tracepoint(tracepoint):
            values[f"HAS_{tracepoint.upper()}"] = 1
    if btf.has_type("class_srcu_fast_notrace_t"):
        # What tracepoints hold since 7.0 (a46023d5616e), instead of keeping preemption off.
        values["TRACEPOINTS_PREEMPTIBLE"] = 1
    if btf.takes_pointer("mark_victim", 0):
        values["MARK_VICTIM_HAS_TASK"] = 1
    return values
