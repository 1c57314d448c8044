# SPDX-License-Identifier: Apache-2.0
"""QEMU's control socket, as far as we need it."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from guestvm.errors import GuestError
from guestvm.sockets import connect

POLL_S = 0.01


class Qmp:
    """A connection to the QMP socket `path`; a context manager."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._socket: socket.socket = connect(path, timeout_s)
        self._socket.settimeout(timeout_s)
        self._file = self._socket.makefile("rw")
        self._receive()  # the banner
        self.execute("qmp_capabilities")

    def __enter__(self) -> Qmp:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._socket.close()

    def execute(self, command: str, **arguments: Any) -> Any:
        """What QEMU returns for `command`; GuestError with its reason if it refuses."""
        try:
            json.dump({"execute": command, "arguments": arguments}, self._file)
            self._file.write("\n")
            self._file.flush()
            while True:
                answer = self._receive()
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise GuestError(f"QEMU refuses {command}: {answer['error']['desc']}")
        except OSError as error:
            raise GuestError(f"QEMU does not answer to {command}: {error}") from error

    def wait_while(self, command: str, states: set[str], timeout_s: float) -> str:
        """Poll `command` until the status that it returns is none of `states`; that status."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            status = self.execute(command).get("status", "none")
            if status not in states:
                return str(status)
            time.sleep(POLL_S)
        raise GuestError(f"QEMU: {command} is still {'/'.join(states)} after {timeout_s:.0f} s")

    def _receive(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise GuestError("QEMU has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer
