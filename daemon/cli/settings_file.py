# SPDX-License-Identifier: Apache-2.0
"""A settings file that belongs to somebody else: read, and replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from agentcg.errors import AgentcgError, InvalidInput

SIZE_MAX_BYTES = 4 << 20
BACKUP_SUFFIX = ".agentcg-backup"


class SettingsFile:
    """The file at `path` (a link is followed) as it was when this was made; "" where none is.

    Raises `InvalidInput` for what is no readable text file of a sane size.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self._seen: os.stat_result | None = None
        self.text = ""
        try:
            with open(self.path, "rb", opener=_at_once) as file:
                self._seen = os.fstat(file.fileno())
                if not stat.S_ISREG(self._seen.st_mode):
                    raise InvalidInput("file", str(self.path), "a regular file")
                data = file.read(SIZE_MAX_BYTES + 1)
            self.text = data.decode("utf-8")
        except FileNotFoundError:
            return
        except UnicodeDecodeError as error:
            raise InvalidInput(str(self.path), data[:20], "UTF-8") from error
        except OSError as error:
            raise InvalidInput("file", str(self.path), f"readable ({error.strerror})") from error
        if len(data) > SIZE_MAX_BYTES:
            raise InvalidInput(str(self.path), len(data), f"at most {SIZE_MAX_BYTES} bytes")

    def replace(self, text: str, *, theirs: bool) -> Path | None:
        """Write `text` in place of it, with its mode and owner; where the back-up is, if any.

        `theirs`: nothing of ours is in what is replaced, so that it is the one to be kept. Else an
        older back-up stays. Raises `AgentcgError`; then the file is as it was.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            backup = None
            if self._seen is not None:
                backup = self.path.with_name(self.path.name + BACKUP_SUFFIX)
                if theirs or not backup.exists():
                    self._write(backup, self.text)
            if self._changed():
                raise AgentcgError(
                    f"{self.path} was changed by another program meanwhile", remedy="try again"
                )
            self._write(self.path, text)
        except OSError as error:
            raise AgentcgError(f"{self.path}: not written: {error.strerror}") from error
        return backup

    def _changed(self) -> bool:
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return self._seen is not None
        was = self._seen
        return was is None or (was.st_ino, was.st_mtime_ns, was.st_size) != (
            now.st_ino, now.st_mtime_ns, now.st_size,
        )  # fmt: skip

    def _write(self, target: Path, text: str) -> None:
        """Beside it, then over it: nobody ever reads half of it."""
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                if self._seen is not None:
                    with contextlib.suppress(PermissionError):
                        os.fchown(file.fileno(), self._seen.st_uid, self._seen.st_gid)
                    os.fchmod(file.fileno(), stat.S_IMODE(self._seen.st_mode))
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).rename(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _at_once(path: str, flags: int) -> int:
    """A pipe is not waited for: it is no regular file, and that is said."""
    return os.open(path, flags | os.O_NONBLOCK)
