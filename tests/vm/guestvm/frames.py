# SPDX-License-Identifier: Apache-2.0
"""The frames that host and guest exchange over one virtio-serial port.

A port is a byte stream that outlives the processes at its ends: a host process can die in the
middle of a frame. So every session opens with a greeting (`GREETING_MARK` and a nonce) that the
decoder recognises at any position; what came before it is dropped. The guest answers with the
same greeting; what the host reads before that is an earlier session's.

A frame is one byte of kind, four of payload length (big-endian), and the payload.
Both ends import this module: the guest's copy travels in the initrd.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from dataclasses import dataclass

# Hashed, so that no file (this one, a .pyc) that is sent through a port contains it.
GREETING_MARK = hashlib.sha256(b"agentcg guest: a session begins").digest()[:16]
NONCE_SIZE = 8
PAYLOAD_MAX_BYTES = 1 << 20

_HEADER = struct.Struct(">BI")


class Kind(enum.IntEnum):
    """What a frame's payload is."""

    # host to guest
    CONFIGURE = 1  # JSON: what is new about a restored guest (clock, hostname, random seed)
    START = 2  # JSON: the command
    STDIN = 3  # bytes for the command; an empty payload is the end of its input
    TERMINATE = 4  # SIGTERM to the command's process group; when it ends, SIGKILL to what is left
    KILL = 5  # SIGKILL to everything in the command's cgroup
    RESIZE = 6  # JSON [rows, columns] of the terminal
    # guest to host
    CONFIGURED = 16
    STDOUT = 17
    STDERR = 18
    EXIT = 19  # decimal status as a shell sees it: 128 + n for signal n


@dataclass(frozen=True)
class Greeting:
    """A session begins."""

    nonce: bytes


@dataclass(frozen=True)
class Frame:
    """One whole frame."""

    kind: int
    payload: bytes


class FrameError(Exception):
    """The stream holds no valid frame: its header announces more than PAYLOAD_MAX_BYTES."""


def greeting(nonce: bytes) -> bytes:
    """The bytes that open (and acknowledge) a session; `nonce` is NONCE_SIZE random bytes."""
    if len(nonce) != NONCE_SIZE:
        raise ValueError(f"a nonce has {NONCE_SIZE} bytes, not {len(nonce)}")
    return GREETING_MARK + nonce


def encode(kind: Kind, payload: bytes = b"") -> bytes:
    """One frame; at most PAYLOAD_MAX_BYTES of payload."""
    if len(payload) > PAYLOAD_MAX_BYTES:
        raise ValueError(f"a payload has at most {PAYLOAD_MAX_BYTES} bytes, not {len(payload)}")
    return _HEADER.pack(kind, len(payload)) + payload


class Decoder:
    """Turns what arrives, in pieces of any size, into greetings and frames.

    Before the first greeting everything is dropped.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._recent = b""  # the stream's last bytes, where a greeting may have begun
        self._in_session = False

    def feed(self, data: bytes) -> list[Greeting | Frame]:
        """What `data` completes; FrameError (once) if the stream is not one of frames."""
        found: list[Greeting | Frame] = []
        stream = self._recent + data
        mark = stream.rfind(GREETING_MARK)
        if mark >= 0:
            after = stream[mark + len(GREETING_MARK) :]
            if len(after) < NONCE_SIZE:
                self._recent = stream[mark:]
                self._in_session = False
                return found
            found.append(Greeting(after[:NONCE_SIZE]))
            self._buffer[:] = after[NONCE_SIZE:]
            self._in_session = True
            self._recent = after[NONCE_SIZE:][-(len(GREETING_MARK) - 1) :]
        else:
            self._recent = stream[-(len(GREETING_MARK) - 1) :]
            if self._in_session:
                self._buffer += data
        if self._in_session:
            found.extend(self._frames())
        return found

    def _frames(self) -> list[Frame]:
        frames: list[Frame] = []
        start = 0
        while len(self._buffer) - start >= _HEADER.size:
            kind, size = _HEADER.unpack_from(self._buffer, start)
            if size > PAYLOAD_MAX_BYTES:
                self._in_session = False
                raise FrameError(f"a frame of {size} bytes is announced")
            end = start + _HEADER.size + size
            if end > len(self._buffer):
                break
            frames.append(Frame(kind, bytes(self._buffer[start + _HEADER.size : end])))
            start = end
        del self._buffer[:start]
        return frames
