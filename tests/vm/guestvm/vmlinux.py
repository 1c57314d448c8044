# SPDX-License-Identifier: Apache-2.0
"""The plain kernel inside a bzImage.

QEMU starts it directly (by its PVH entry point); a bzImage would decompress itself in the
emulator, which takes a second or two of every boot. Layout: Documentation/arch/x86/boot.rst of
the kernel, "The Real-Mode Kernel Header".
"""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess

from guestvm import host
from guestvm.errors import GuestError

_SECTOR = 512
_SETUP_SECTORS = 0x1F1
_MAGIC = 0x202
_PAYLOAD = 0x248  # offset and length, since protocol 2.08
_LENGTH_SUFFIX = 4  # the payload ends in its decompressed size


def payload(image: bytes) -> bytes:
    """The compressed kernel in a bzImage; GuestError if `image` is none."""
    if len(image) < _PAYLOAD + 8 or image[_MAGIC : _MAGIC + 4] != b"HdrS":
        raise GuestError("the kernel's vmlinuz is no bzImage")
    base = ((image[_SETUP_SECTORS] or 4) + 1) * _SECTOR
    offset, length = struct.unpack_from("<II", image, _PAYLOAD)
    found = image[base + offset : base + offset + length]
    if length <= _LENGTH_SUFFIX or len(found) < length:
        raise GuestError("the kernel's vmlinuz is truncated")
    return found


def decompress(data: bytes) -> bytes:
    """The ELF kernel of a payload that is compressed by zstd, xz or gzip."""
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        command = [host.program("zstd"), "-dcq"]
        plain = data[:-_LENGTH_SUFFIX]
        kernel = subprocess.run(command, input=plain, stdout=subprocess.PIPE, check=True).stdout
    elif data.startswith(b"\xfd7zXZ"):
        kernel = lzma.LZMADecompressor().decompress(data)
    elif data.startswith(b"\x1f\x8b"):
        kernel = gzip.decompress(data[:-_LENGTH_SUFFIX])
    else:
        raise GuestError(f"the kernel is compressed in an unknown way: {data[:6].hex()}")
    if not kernel.startswith(b"\x7fELF"):
        raise GuestError("what the kernel's vmlinuz contains is no ELF file")
    return kernel
