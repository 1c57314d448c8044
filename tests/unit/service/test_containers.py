# SPDX-License-Identifier: Apache-2.0
"""Name and image of a container are read from what its engine keeps on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.cgroups.origin import origin
from agentcg.daemon.service.host.containers import UNKNOWN, Described, describe, docker, oci, podman

ID = "4f2a" * 16
ME = os.getuid()
DOCKER = {"ID": ID, "Name": "/web", "Config": {"Image": "python:3.12"}, "Image": "sha256:77"}
PODMAN = [
    {"id": "00" * 32, "names": ["other"], "metadata": "{}"},
    {"id": ID, "names": ["web"], "image": "77", "metadata": '{"image-name":"python:3.12"}'},
]
CONTAINERD = {
    "annotations": {
        "io.kubernetes.cri.container-name": "web",
        "io.kubernetes.cri.image-name": "python:3.12",
    }
}
CRIO = {
    "annotations": {
        "io.kubernetes.container.name": "web",
        "io.kubernetes.cri-o.ImageName": "python:3.12",
    }
}
POD = "/kubepods.slice/kubepods-pod1b2c3d4e_5f60.slice"


def write(root: Path, path: str, state: object) -> Path:
    """`state` as JSON at `path` below `root`."""
    file = root / path
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(state))
    return file


@pytest.mark.parametrize(
    ("cgroup", "file", "state"),
    [
        (
            f"/system.slice/docker-{ID}.scope",
            f"var/lib/docker/containers/{ID}/config.v2.json",
            DOCKER,
        ),
        (
            f"/machine.slice/libpod-{ID}.scope/container",
            "var/lib/containers/storage/overlay-containers/containers.json",
            PODMAN,
        ),
        (
            f"{POD}/cri-containerd-{ID}.scope",
            f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json",
            CONTAINERD,
        ),
        (
            f"{POD}/crio-{ID}.scope",
            f"run/containers/storage/overlay-containers/{ID}/userdata/config.json",
            CRIO,
        ),
    ],
)
def test_each_engine(tmp_path: Path, cgroup: str, file: str, state: object) -> None:
    """Docker, Podman, containerd and CRI-O each keep them in a file that root alone writes."""
    assert describe(origin(cgroup), tmp_path, ME) == UNKNOWN
    write(tmp_path, file, state)
    assert describe(origin(cgroup), tmp_path, ME) == Described("web", "python:3.12")


def test_what_a_user_could_have_written_is_not_believed(tmp_path: Path) -> None:
    """Neither a rootless engine's container, nor another user's file, nor a link is read."""
    path = f"var/lib/docker/containers/{ID}/config.v2.json"
    file = write(tmp_path, path, DOCKER)
    mine = origin(f"/system.slice/docker-{ID}.scope")
    assert describe(mine, tmp_path, ME).name == "web"
    assert describe(mine, tmp_path, ME + 1) == UNKNOWN
    rootless = origin(f"/user.slice/user@1000.service/docker-{ID}.scope")
    assert describe(rootless, tmp_path, ME) == UNKNOWN
    link = tmp_path / "elsewhere"
    file.rename(link)
    file.symlink_to(link)
    assert describe(mine, tmp_path, ME) == UNKNOWN


def test_a_pipe_in_its_place_holds_nobody_up(tmp_path: Path) -> None:
    """Whatever stands where a state should be, opening a session goes on."""
    file = write(tmp_path, f"var/lib/docker/containers/{ID}/config.v2.json", DOCKER)
    file.unlink()
    os.mkfifo(file)
    assert describe(origin(f"/docker/{ID}"), tmp_path, ME) == UNKNOWN


_JSON = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["Name", "Config", "Image", "id", "names", "metadata", "annotations"]),
            inner,
            max_size=4,
        ),
    ),
)


@given(_JSON)
def test_any_state_has_an_answer(state: object) -> None:
    """Another version's format means that nothing is known, never an error."""
    for found in (docker(state), podman(state, ID), podman([{"id": ID, "metadata": state}], ID),
                  oci(state)):  # fmt: skip
        for text in (found.name, found.image):
            assert text is None or text.isprintable()
