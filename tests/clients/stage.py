# SPDX-License-Identifier: Apache-2.0
"""Runs in a network namespace of its own: the model on its loopback, then the client.

    unshare --net -- python -m clients.stage SPEC.json

The client's process prints its pid and waits for a line on standard input, so that it can be placed
before it executes anything. SPEC: argv, env, cwd, script, out, timeout_s.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from clients.model import Model

PORT = 8765
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def raise_loopback() -> None:
    """`ip link set lo up`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = bytearray(struct.pack("16sh22x", b"lo", 0))
        fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("h", request, 16)
        struct.pack_into("h", request, 16, flags | _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def run(spec: dict[str, Any]) -> int:
    """The client's exit status; it waits for a line before it executes anything."""
    wrapper = 'echo $$ >&3; read -r _ <&4; exec 3>&- 4>&-; exec "$@" < /dev/null'
    with Path(spec["out"]).open("wb") as out:
        client = subprocess.Popen(
            ["/bin/sh", "-c", wrapper, "client", *spec["argv"]], env=spec["env"],
            cwd=spec["cwd"], stdout=out, stderr=out, pass_fds=(3, 4), start_new_session=True,
        )  # fmt: skip
        return client.wait(spec["timeout_s"])


async def main(spec: dict[str, Any]) -> None:
    raise_loopback()
    interfaces = [name for _, name in socket.if_nameindex()]
    assert interfaces == ["lo"], f"there is a way out: {interfaces}"
    model = Model(spec["script"])
    runner = web.AppRunner(model.application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT).start()
    status = await asyncio.to_thread(run, spec)
    said = {
        "status": status, "requests": model.requests, "heard": model.heard,
        "heard_at": model.heard_at,
    }  # fmt: skip
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    os.dup2(1, 3)
    os.dup2(0, 4)
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
