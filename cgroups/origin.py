# SPDX-License-Identifier: Apache-2.0
"""What a cgroup's path says about who made it: container engine, container, pod, unit.

    origin("/system.slice/docker-4f2a...c1.scope").container     # "4f2a...c1"

Container engines and systemd name cgroups by fixed rules, so the path alone tells the id of
the container and the unit; names and images of containers are not in it. Pure and total:
whatever the path, there is an answer.

- Docker: `system.slice/docker-ID.scope` (systemd) or `docker/ID` (cgroupfs)
- Podman: `machine.slice/libpod-ID.scope/container`, rootless below `user@UID.service`
- Kubernetes: `kubepods.slice/...-podUID.slice/{cri-containerd,crio,docker}-ID.scope`, or
  `kubepods/burstable/podUID/ID`
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Engine = Literal["docker", "podman", "containerd", "cri-o"]

_ENGINES: dict[str, Engine] = {
    "docker": "docker",
    "libpod": "podman",
    "cri-containerd": "containerd",
    "crio": "cri-o",
}
_ID = "[0-9a-f]{12,64}"
# Not libpod-conmon-ID.scope: that is the engine's own monitor beside the container.
_NAMED = re.compile(rf"(docker|libpod|cri-containerd|crio)-({_ID})(?:\.scope)?")
_BARE = re.compile(_ID)
_POD = re.compile(r"(?:kubepods[a-z-]*-)?pod([0-9a-f][0-9a-f_-]{7,63})(?:\.slice)?")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,249}\.(?:service|scope)")
_USER_MANAGER = re.compile(r"user@\d+\.service")


@dataclass(frozen=True, slots=True)
class Origin:
    """Who made a cgroup, as far as its path tells; None where it does not.

    Of containers in containers it is the innermost. `unit` is a service or a scope; of a
    user's own units it is that one and not the user's manager.
    """

    engine: Engine | None = None
    container: str | None = None  # its id
    pod: str | None = None  # uid of a Kubernetes pod
    unit: str | None = None
    rootless: bool = False  # below a user's own manager: whatever it is, the user made it


def origin(path: str) -> Origin:
    """What `path`, as in /proc/PID/cgroup, says. Linear in its length."""
    parts = [part for part in path.split("/") if part]
    engine: Engine | None = None
    container = pod = None
    for number, part in enumerate(parts):
        if (named := _NAMED.fullmatch(part)) is not None:
            engine, container = _ENGINES[named[1]], named[2]
        elif (in_pod := _POD.fullmatch(part)) is not None:
            pod = in_pod[1].replace("_", "-")
            engine = container = None
        elif number > 0 and _BARE.fullmatch(part) is not None:
            if parts[number - 1] == "docker":
                engine, container = "docker", part
            elif _POD.fullmatch(parts[number - 1]) is not None:
                engine, container = None, part  # containerd and CRI-O look alike here
    rootless = any(_USER_MANAGER.fullmatch(part) for part in parts)
    return Origin(engine, container, pod, _unit(parts), rootless)


def _unit(parts: list[str]) -> str | None:
    """The first service or scope below the slices; below a user's manager, the user's own."""
    found = None
    for part in parts:
        name = part.removeprefix("_")  # systemd's escape for names that the kernel uses
        if name.endswith(".slice"):
            continue
        if _UNIT.fullmatch(name) is None:
            break
        found = name
        if _USER_MANAGER.fullmatch(name) is None:
            break
    return found
