# SPDX-License-Identifier: Apache-2.0
"""Objects that clang made when agentcg was built (*.bpf.o), loaded through libbpf.

For what bcc cannot load: struct_ops, and programs that go with them. An `Object` owns what it
loaded; closing it, or the end of the process, takes everything out of the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from agentcg.bpf import libbpf
from agentcg.bpf.btf import Btf
from agentcg.bpf.log import essence
from agentcg.closing import Closing
from agentcg.errors import BpfError

OLDEST = (1, 4)
"""Older libraries attach struct_ops without a link: a killed daemon's would stay for ever."""
_REMEDY_OLD = "Debian 13 has libbpf 1.5; Debian 12 has 1.1"

_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_WARN, _LOG_BYTES = 0, 1 << 16
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "bpf_object__open_file": (c_void_p, [c_char_p, c_void_p]),
    "bpf_object__load": (c_int, [c_void_p]),
    "bpf_object__close": (None, [c_void_p]),
    "bpf_object__find_map_by_name": (c_void_p, [c_void_p, c_char_p]),
    "bpf_object__find_program_by_name": (c_void_p, [c_void_p, c_char_p]),
    "bpf_program__set_autoload": (c_int, [c_void_p, c_bool]),
    "bpf_program__attach": (c_void_p, [c_void_p]),
    "bpf_program__fd": (c_int, [c_void_p]),
    "bpf_map__set_autocreate": (c_int, [c_void_p, c_bool]),
    "bpf_map__attach_struct_ops": (c_void_p, [c_void_p]),
    "bpf_map__initial_value": (c_void_p, [c_void_p, POINTER(c_size_t)]),
    "bpf_map__fd": (c_int, [c_void_p]),
    "bpf_link__destroy": (c_int, [c_void_p]),
}


def version() -> tuple[int, int]:
    """The library's version; OSError where it is not installed."""
    major, minor = libbpf.version().split(".")[:2]
    return int(major), int(minor)


@cache
def _library() -> Any:
    library = libbpf.library()
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Object(Closing):
    """An opened object file: `settle`, `leave_out`, then `load`, then attach and read."""

    def __init__(self, path: Path) -> None:
        self.name = path.name.removesuffix(".bpf.o")
        self._path = path
        self._links: list[int] = []
        if not path.is_file():
            raise BpfError(
                f"{path} is missing",
                remedy="this agentcg was built without clang: build it with clang, llvm and "
                "libbpf-dev installed",
            )
        try:
            found = version()
        except OSError as error:
            raise BpfError(str(error), remedy="install libbpf1 (Fedora: libbpf)") from error
        if found < OLDEST:
            raise BpfError(
                f"libbpf {found[0]}.{found[1]} is older than {OLDEST[0]}.{OLDEST[1]}",
                remedy=_REMEDY_OLD,
            )
        with _warnings() as log:
            self._object = _library().bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise self._failed("opened", ctypes.get_errno(), log)

    def settle(self, name: str, settings: ctypes.Structure) -> None:
        """Set the variable of the read-only section `.rodata.NAME`; before `load`."""
        size = c_size_t()
        address = _library().bpf_map__initial_value(self._map(f".rodata.{name}"), size)
        if size.value != ctypes.sizeof(settings):
            raise BpfError(f"{self.name}: settings of {size.value} bytes, not as this version's")
        ctypes.memmove(address, ctypes.byref(settings), size.value)

    def set_flag(self, ops: str, structure: str, flag: int) -> None:
        """Set a bit of `flags` in a struct_ops map of this structure; before `load`. libbpf shows
        what it registers as the object's own type has it (since 1.4)."""
        with Btf.of_object(self._path) as types:
            at = types.offset(structure, "flags")
        size = c_size_t()
        address = _library().bpf_map__initial_value(self._map(ops), size)
        if not address or at + ctypes.sizeof(c_uint64) > size.value:
            raise BpfError(f"{self.name}: the flags of {ops} cannot be set")
        c_uint64.from_address(address + at).value |= flag

    def leave_out(self, *programs: str) -> None:
        """Do not load these programs."""
        for name in programs:
            _library().bpf_program__set_autoload(self._program(name), False)

    def leave_out_map(self, *maps: str) -> None:
        """Do not make these maps."""
        for name in maps:
            _library().bpf_map__set_autocreate(self._map(name), False)

    def load(self) -> None:
        """Verify and load what was not left out; BpfError with the point of the log."""
        with _warnings() as log:
            result = _library().bpf_object__load(self._object)
        if result < 0:
            raise self._failed("loaded", -result, log)

    def attach(self, program: str) -> None:
        """Attach a program to what its section names."""
        self._attach(_library().bpf_program__attach, self._program(program), program)

    def attach_struct_ops(self, name: str) -> None:
        """Register a struct_ops map. OSError (EBUSY) stays one: somebody else is registered."""
        self._attach(_library().bpf_map__attach_struct_ops, self._map(name), name)

    def map(self, name: str, key: type[Any], value: type[Any]) -> libbpf.Map:
        """A map of the loaded object, with a descriptor of its own."""
        return libbpf.Map(os.dup(_library().bpf_map__fd(self._map(name))), key, value)

    def program_fd(self, program: str) -> int:
        """The descriptor of a loaded program, which stays ours."""
        return int(_library().bpf_program__fd(self._program(program)))

    def run_time(self, program: str) -> tuple[int, int]:
        """For how many ns in all, and how often, a loaded program has run while the kernel
        measured (sysctl kernel.bpf_stats_enabled)."""
        fd = self.program_fd(program)
        said = dict(
            line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
        )
        return int(said["run_time_ns"]), int(said["run_cnt"])

    def close(self) -> None:
        """Detach and unload everything; twice does no harm."""
        for link in reversed(self._links):
            _library().bpf_link__destroy(link)
        self._links.clear()
        if self._object:
            _library().bpf_object__close(self._object)
            self._object = None

    def _attach(self, function: Any, what: int, name: str) -> None:
        with _warnings() as log:
            link = function(what)
            number = ctypes.get_errno()
        if link:
            self._links.append(link)
        elif number == errno.EBUSY:
            raise OSError(number, os.strerror(number), name)
        else:
            raise self._failed(f"attached ({name})", number, log)

    def _map(self, name: str) -> int:
        found = _library().bpf_object__find_map_by_name(self._object, name.encode())
        return libbpf.checked_pointer(found, f"map {name}")

    def _program(self, name: str) -> int:
        found = _library().bpf_object__find_program_by_name(self._object, name.encode())
        return libbpf.checked_pointer(found, f"program {name}")

    def _failed(self, what: str, number: int, log: list[str]) -> BpfError:
        reason = essence("".join(log)) or os.strerror(number)
        return BpfError(f"the {self.name} programs cannot be {what}: {reason}")


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What libbpf has to say meanwhile, the verifier's log included."""
    library, lines = _library(), list[str]()
    text = ctypes.create_string_buffer(_LOG_BYTES)
    vsnprintf = ctypes.CDLL(None).vsnprintf

    def take(level: int, form: bytes, arguments: int) -> int:
        if level == _WARN:
            vsnprintf(text, c_size_t(len(text)), c_char_p(form), c_void_p(arguments))
            lines.append(text.value.decode(errors="replace"))
        return 0

    callback = _PRINT(take)
    library.libbpf_set_print(callback)
    try:
        yield lines
    finally:
        library.libbpf_set_print(None)
