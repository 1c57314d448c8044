# SPDX-License-Identifier: Apache-2.0
"""libbpf, as far as it is needed: pins, maps, the ring buffer, BTF.

A thin typed layer over libbpf.so.1 by ctypes. Functions raise `OSError` with the kernel's
reason; `BpfError` is made one level up, where it is known what the call was for. Works with
libbpf 1.0 and later (of 1.x only functions that all releases have are used).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable, Iterator
from ctypes import c_char_p, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from agentcg.closing import Closing

LIBRARY = "libbpf.so.1"
_MAP_INFO_BTF_ID = 16  # btf_id in struct bpf_map_info, in units of four bytes
ANY, NOEXIST = 0, 1  # bpf.h: BPF_ANY, BPF_NOEXIST

_SAMPLE = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "libbpf_version_string": (c_char_p, []),
    "libbpf_set_print": (c_void_p, [c_void_p]),
    "bpf_obj_pin": (c_int, [c_int, c_char_p]),
    "bpf_obj_get": (c_int, [c_char_p]),
    "bpf_raw_tracepoint_open": (c_int, [c_char_p, c_int]),
    "bpf_map_lookup_elem": (c_int, [c_int, c_void_p, c_void_p]),
    "bpf_map_lookup_and_delete_elem": (c_int, [c_int, c_void_p, c_void_p]),
    "bpf_map_update_elem": (c_int, [c_int, c_void_p, c_void_p, c_uint64]),
    "bpf_map_delete_elem": (c_int, [c_int, c_void_p]),
    "bpf_map_get_next_key": (c_int, [c_int, c_void_p, c_void_p]),
    "bpf_obj_get_info_by_fd": (c_int, [c_int, c_void_p, c_void_p]),
    "ring_buffer__new": (c_void_p, [c_int, _SAMPLE, c_void_p, c_void_p]),
    "ring_buffer__epoll_fd": (c_int, [c_void_p]),
    "ring_buffer__consume": (c_int, [c_void_p]),
    "ring_buffer__free": (None, [c_void_p]),
    "btf__load_vmlinux_btf": (c_void_p, []),
    "btf__load_from_kernel_by_id": (c_void_p, [c_uint32]),
    "btf__parse_elf": (c_void_p, [c_char_p, c_void_p]),
    "btf__free": (None, [c_void_p]),
    "btf__find_by_name_kind": (c_int32, [c_void_p, c_char_p, c_uint32]),
    "btf__type_by_id": (c_void_p, [c_void_p, c_uint32]),
    "btf__name_by_offset": (c_char_p, [c_void_p, c_uint32]),
}


@functools.cache
def library() -> Any:
    """The loaded library; OSError where it is not installed."""
    lib = ctypes.CDLL(LIBRARY, use_errno=True)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    lib.libbpf_set_print(None)  # reasons arrive as errno; stderr is not ours to write to
    return lib


def version() -> str:
    """The library's version, such as "1.5"."""
    text: bytes = library().libbpf_version_string()
    return text.decode().lstrip("v")


def checked(result: int, what: str) -> int:
    """`result`, unless it says failure: then OSError about `what`."""
    if result < 0:
        number = ctypes.get_errno() or -result
        raise OSError(number, os.strerror(number), what)
    return result


def checked_pointer(result: int | None, what: str) -> int:
    """The address `result`, unless it is null: then OSError about `what`."""
    if not result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def pin(fd: int, path: Path) -> None:
    """Keep a map, program or link alive under `path` (on bpffs) after its descriptor closes."""
    checked(library().bpf_obj_pin(fd, os.fsencode(path)), str(path))


def attach_raw_tracepoint(program_fd: int, tracepoint: str) -> int:
    """Run the program at every hit; a descriptor of the link, which can be pinned."""
    link = library().bpf_raw_tracepoint_open(tracepoint.encode(), program_fd)
    return checked(link, tracepoint)


def get_pinned(path: Path) -> int:
    """A new descriptor (close-on-exec) of what is pinned at `path`."""
    return checked(library().bpf_obj_get(os.fsencode(path)), str(path))


def btf_id_of_map(fd: int) -> int:
    """The kernel's id of the BTF that describes a map's keys and values."""
    info = (c_uint32 * 32)()  # struct bpf_map_info; what this kernel does not have stays 0
    size = c_uint32(ctypes.sizeof(info))
    result = library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
    checked(result, "map information")
    return int(info[_MAP_INFO_BTF_ID])


class Map(Closing):
    """A map with keys of type `key` and values of type `value` (ctypes), owning its descriptor.

    Keys are passed as plain integers.
    """

    def __init__(self, fd: int, key: type[Any], value: type[Any]) -> None:
        self.fd = fd
        self._key = key
        self._value = value

    def get(self, key: int) -> Any | None:
        """The value at `key`, or None."""
        return self._read(library().bpf_map_lookup_elem, key)

    def pop(self, key: int) -> Any | None:
        """The value at `key`, taken out in one step (since 5.14 for hashes), or None."""
        return self._read(library().bpf_map_lookup_and_delete_elem, key)

    def put(self, key: int, value: Any, flags: int = ANY) -> None:
        """Write `value`; OSError E2BIG: the map is full, EEXIST: there (with NOEXIST)."""
        c_key = self._key(key)
        result = library().bpf_map_update_elem(
            self.fd, ctypes.byref(c_key), ctypes.byref(value), flags
        )
        checked(result, "map update")

    def remove(self, key: int) -> None:
        """Make `key` absent, whether or not it was there."""
        c_key = self._key(key)
        result = library().bpf_map_delete_elem(self.fd, ctypes.byref(c_key))
        if result < 0 and ctypes.get_errno() != errno.ENOENT:
            checked(result, "map removal")

    def keys(self) -> Iterator[int]:
        """All keys; one that is inserted or removed meanwhile may or may not be among them."""
        key, following = self._key(), self._key()
        previous = None
        while True:
            result = library().bpf_map_get_next_key(self.fd, previous, ctypes.byref(following))
            if result < 0 and ctypes.get_errno() == errno.ENOENT:
                return
            checked(result, "map iteration")
            key.value = following.value
            previous = ctypes.byref(key)
            yield int(key.value)

    def close(self) -> None:
        """Close the descriptor; what is pinned stays. Twice does no harm."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _read(self, function: Callable[..., int], key: int) -> Any | None:
        c_key, value = self._key(key), self._value()
        result = function(self.fd, ctypes.byref(c_key), ctypes.byref(value))
        if result < 0 and ctypes.get_errno() == errno.ENOENT:
            return None
        checked(result, "map lookup")
        return value


class Ring:
    """The reading end of a ring buffer map. One reader at a time: the position is shared."""

    STOP = -1  # what the callback returns to stop after the present record

    def __init__(self, fd: int, limit: int) -> None:
        """Read from map `fd`, at most `limit` records for each `read`."""
        self._limit = limit
        self._records: list[bytes] = []
        self._callback = _SAMPLE(self._take)  # kept: libbpf holds only the address
        self._ring: int | None = checked_pointer(
            library().ring_buffer__new(fd, self._callback, None, None), "ring buffer"
        )

    def fileno(self) -> int:
        """An epoll descriptor that is readable while records wait."""
        return int(library().ring_buffer__epoll_fd(self._ring))

    def read(self) -> list[bytes]:
        """Records that wait now, oldest first, at most `limit`; never blocks."""
        library().ring_buffer__consume(self._ring)
        records, self._records = self._records, []
        return records

    def close(self) -> None:
        """Unmap the buffer; records not read stay for the next reader. Twice does no harm."""
        library().ring_buffer__free(self._ring)
        self._ring = None  # of which libbpf frees nothing

    def _take(self, _context: int | None, data: int, size: int) -> int:
        self._records.append(ctypes.string_at(data, size))
        return self.STOP if len(self._records) >= self._limit else 0
