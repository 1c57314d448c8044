# SPDX-License-Identifier: Apache-2.0
"""Name and image of a container, from what its engine keeps on disk.

No engine is asked: its daemon may be busy, hung, or not to be reached by ours, and opening a
session must not wait for it. Read are, bounded in size, files that only root can write:

- Docker: `/var/lib/docker/containers/ID/config.v2.json` (Name, Config.Image)
- Podman: `/var/lib/containers/storage/overlay-containers/containers.json` (names, metadata)
- containerd and CRI-O under Kubernetes: the container's OCI configuration in /run
  (annotations of the CRI)

Another data root, or a rootless engine (whose files its user could have written), means that
only the id is known.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agentcg.cgroups.origin import Origin

STATE_MAX_BYTES = 4 << 20
TEXT_MAX = 255
_DOCKER = "var/lib/docker/containers/{id}/config.v2.json"
_PODMAN = "var/lib/containers/storage/overlay-containers/containers.json"
_CONTAINERD = "run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json"
_CRIO = "run/containers/storage/overlay-containers/{id}/userdata/config.json"


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of a container beyond its id."""

    name: str | None = None
    image: str | None = None


UNKNOWN = Described()


def describe(origin: Origin, root: Path = Path("/"), owner: int = 0) -> Described:
    """Name and image of the container of `origin`; None in both where they are not known.

    Only files of the user `owner` are believed.
    """
    container, engine = origin.container, origin.engine
    if container is None or origin.rootless:
        return UNKNOWN
    if engine == "docker":
        return docker(_json(root / _DOCKER.format(id=container), owner))
    if engine == "podman":
        return podman(_json(root / _PODMAN, owner), container)
    for path in (_CONTAINERD, _CRIO):
        found = oci(_json(root / path.format(id=container), owner))
        if found != UNKNOWN:
            return found
    return UNKNOWN


def docker(state: Any) -> Described:
    """From Docker's own record of a container."""
    name = _text(_in(state, "Name"))
    return Described(name.lstrip("/") if name else None, _text(_in(state, "Config", "Image")))


def podman(state: Any, container: str) -> Described:
    """From the list of all containers in Podman's storage."""
    for entry in state if isinstance(state, list) else ():
        if _in(entry, "id") == container:
            names, metadata = _in(entry, "names"), _in(entry, "metadata")
            name = names[0] if isinstance(names, list) and names else None
            return Described(_text(name), _text(_in(_decoded(metadata), "image-name")))
    return UNKNOWN


def oci(configuration: Any) -> Described:
    """From the annotations that the CRI's engines write into a container's configuration."""
    notes = _in(configuration, "annotations")
    name = _in(notes, "io.kubernetes.cri.container-name") or _in(
        notes, "io.kubernetes.container.name"
    )
    image = _in(notes, "io.kubernetes.cri.image-name") or _in(
        notes, "io.kubernetes.cri-o.ImageName"
    )
    return Described(_text(name), _text(image))


def _json(path: Path, owner: int) -> Any:
    """What a file holds; None where there is no such file, or it is something else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as stream:
            if os.fstat(descriptor).st_uid != owner:
                return None
            data = stream.read(STATE_MAX_BYTES + 1)
    except OSError:
        return None
    return _decoded(data) if len(data) <= STATE_MAX_BYTES else None


def _decoded(data: Any) -> Any:
    if not isinstance(data, bytes | str):
        return None
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def _in(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str | None:
    """`value` if it is a text that can be shown and is not too long."""
    fits = isinstance(value, str) and 0 < len(value) <= TEXT_MAX and value.isprintable()
    return value if fits else None
