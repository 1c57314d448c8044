# SPDX-License-Identifier: Apache-2.0
"""A cgroup directory held open: files and extended attributes relative to its descriptor.

Names of cgroups get reused, descriptors do not: whatever is done through a `Directory`
meets the very cgroup that was opened, or fails with `CgroupGone`.
"""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path

from agentcg.cgroups.refusal import is_gone, translate
from agentcg.closing import Closing
from agentcg.errors import CgroupError, InvalidInput

NAME_MAX = 255

# ENOENT: no such file. EOPNOTSUPP: the file is there but the feature is off (PSI, swap).
_ABSENT = (errno.ENOENT, errno.EOPNOTSUPP)

_CHUNK_BYTES = 16384  # more than memory.stat needs: one read gets a whole file
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC
# O_NONBLOCK: memory.high and memory.max then take effect without the writer reclaiming
# memory on the spot (Linux 6.16); elsewhere and on older kernels it changes nothing.
OPEN_WRITE = os.O_WRONLY | os.O_NONBLOCK


def read_at(dir_fd: int, name: str) -> str:
    """The whole file `name` below `dir_fd`. Raises OSError."""
    fd = os.open(name, _READ, dir_fd=dir_fd)
    try:
        data = os.read(fd, _CHUNK_BYTES)
        if len(data) == _CHUNK_BYTES or name in ("cgroup.procs", "cgroup.threads"):
            # Files of many records (seq_file) give a page at a time: read to the end.
            while chunk := os.read(fd, _CHUNK_BYTES):
                data += chunk
    finally:
        os.close(fd)
    return data.decode()


def check_name(name: str) -> str:
    """`name` if it can name a child cgroup; nothing that leaves the directory passes."""
    if name in ("", ".", "..") or any(c in name for c in "/\0\n"):
        raise InvalidInput("cgroup", name, "a single directory name")
    if len(os.fsencode(name)) > NAME_MAX:
        raise InvalidInput("cgroup", name, f"at most {NAME_MAX} bytes")
    return name


class Directory(Closing):
    """Descriptor, path (as it was when opened) and the kernel's id of one cgroup."""

    __slots__ = ("_fd", "id", "path")

    def __init__(self, fd: int, path: Path) -> None:
        """Takes over `fd`. `id` is the kernel's 64-bit cgroup id, which BPF sees too."""
        self._fd = fd
        self.path = path
        self.id = os.fstat(fd).st_ino

    def fileno(self) -> int:
        """The directory's descriptor; stays owned by this handle."""
        return self._fd

    def close(self) -> None:
        """Give the descriptor back; the cgroup itself lives on. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} id={self.id}>"

    # --- Files ----------------------------------------------------------------------------

    def read(self, knob: str) -> str:
        """The text of file `knob`. Raises CgroupGone, ControllerMissing, CgroupError."""
        try:
            return read_at(self._fd, _check_knob(knob))
        except OSError as error:
            raise self.refused(error, knob) from error

    def read_or_none(self, knob: str) -> str | None:
        """As `read`, but `None` where this kernel or this cgroup has no such file."""
        try:
            return read_at(self._fd, _check_knob(knob))
        except OSError as error:
            if error.errno in _ABSENT and not is_gone(self._fd):
                return None
            raise self.refused(error, knob) from error

    def open_file(self, knob: str, flags: int, value: object = None) -> int:
        """A descriptor of file `knob`, which the caller closes; `value` is for errors only."""
        try:
            return os.open(_check_knob(knob), flags | os.O_CLOEXEC, dir_fd=self._fd)
        except OSError as error:
            raise self.refused(error, knob, value) from error

    def _write(self, knob: str, value: str) -> None:
        fd = self.open_file(knob, OPEN_WRITE, value)
        try:
            self._write_fd(fd, knob, value)
        finally:
            os.close(fd)

    def _write_fd(self, fd: int, knob: str, value: str) -> None:
        try:
            os.write(fd, value.encode())
        except OSError as error:
            raise self.refused(error, knob, value, is_open=True) from error

    def refused(
        self, error: OSError, knob: str = "", value: object = None, *, is_open: bool = False
    ) -> CgroupError:
        """The error to raise for `error`; `is_open`: the file existed, its use was refused."""
        return translate(self.path, self._fd, knob, value, error, is_open=is_open)

    # --- Extended attributes --------------------------------------------------------------

    def get_attr(self, name: str) -> bytes | None:
        """Extended attribute `user.<name>`, `None` where it is not set."""
        try:
            return os.getxattr(self._fd, f"user.{name}")
        except OSError as error:
            if error.errno == errno.ENODATA:
                return None
            raise self.refused(error, f"user.{name}") from error

    def set_attr(self, name: str, value: bytes) -> None:
        """Set extended attribute `user.<name>`; it lives as long as the cgroup.

        The kernel bounds user attributes of a cgroup to 128 and 128 KiB together.
        """
        try:
            os.setxattr(self._fd, f"user.{name}", value)
        except OSError as error:
            raise self.refused(error, f"user.{name}", value) from error

    def remove_attr(self, name: str) -> None:
        """Remove extended attribute `user.<name>` if it is set."""
        try:
            os.removexattr(self._fd, f"user.{name}")
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise self.refused(error, f"user.{name}") from error


def _check_knob(knob: str) -> str:
    if "/" in knob:
        raise InvalidInput("knob", knob, "the name of a file in the cgroup")
    return knob
