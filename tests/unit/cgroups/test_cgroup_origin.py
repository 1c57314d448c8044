# SPDX-License-Identifier: Apache-2.0
"""The path of a cgroup tells the container, the pod and the unit that it belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.cgroups.origin import Origin, origin

ID = "4f2a" * 16
POD = "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9"
POD_ = POD.replace("-", "_")
KUBE = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + POD_ + ".slice"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"/system.slice/docker-{ID}.scope", Origin("docker", ID, None, f"docker-{ID}.scope")),
        (f"/docker/{ID}", Origin("docker", ID)),
        (f"/docker/{ID}/nested/leaf", Origin("docker", ID)),
        (
            f"/machine.slice/libpod-{ID}.scope/container",
            Origin("podman", ID, None, f"libpod-{ID}.scope"),
        ),
        (
            f"/machine.slice/machine-libpod_pod_{ID}.slice/libpod-{ID}.scope",
            Origin("podman", ID, None, f"libpod-{ID}.scope"),
        ),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container",
            Origin("podman", ID, None, f"libpod-{ID}.scope", rootless=True),
        ),
        (
            f"{KUBE}/cri-containerd-{ID}.scope",
            Origin("containerd", ID, POD, f"cri-containerd-{ID}.scope"),
        ),
        (f"{KUBE}/crio-{ID}.scope", Origin("cri-o", ID, POD, f"crio-{ID}.scope")),
        (f"/kubepods/besteffort/pod{POD}/{ID}", Origin(None, ID, POD)),
        (f"/kubepods/pod{POD}/{ID}", Origin(None, ID, POD)),
    ],
)
def test_containers_of_every_engine(path: str, found: Origin) -> None:
    """Docker, Podman, containerd and CRI-O, with systemd and with plain cgroups."""
    assert origin(path) == found


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/ssh.service", "ssh.service"),
        ("/system.slice/system-ci.slice/ci@7.service/inner", "ci@7.service"),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        ("/user.slice/user-1000.slice/user@1000.service", "user@1000.service"),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/agent.service",
            "agent.service",
        ),
        ("/system.slice/_cgroup.service", "cgroup.service"),
        ("/init.scope", "init.scope"),
        ("/system.slice", None),
        ("/", None),
        ("/mine/ssh.service", None),
    ],
)
def test_units(path: str, unit: str | None) -> None:
    """A system's own unit, or that of a user's manager; nothing where systemd made nothing."""
    assert origin(path).unit == unit


def test_a_container_in_a_container_is_the_inner_one() -> None:
    """In a cluster whose nodes are containers themselves, it is the pod's container."""
    inner = "ab" * 32
    found = origin(f"/docker/{ID}/kubelet/kubepods/pod{POD}/{inner}")
    assert (found.engine, found.container, found.pod) == (None, inner, POD)


@pytest.mark.parametrize(
    "path",
    [
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"/system.slice/crio-conmon-{ID}.scope",
        f"/mine/{ID}",
        "/docker/buildkit",
        "/system.slice/docker.service",
        KUBE,
    ],
)
def test_what_is_no_container(path: str) -> None:
    """Engines' monitors and services, pods, and anybody's cgroup that looks like an id."""
    assert origin(path).container is None


_PART = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["docker", f"docker-{ID}.scope", ID, "kubepods", f"pod{POD}", "user@1.service", "a.slice",
         "..", "", "x.service"]
    ),
)  # fmt: skip


@given(st.lists(_PART, max_size=8).map("/".join))
def test_any_path_has_an_answer(path: str) -> None:
    """Nothing raises, and what is found is a part of the path."""
    found = origin(path)
    assert found.container is None or found.container in path
    assert found.unit is None or found.unit in path


@given(
    st.text(alphabet="0123456789abcdef", min_size=12, max_size=64), st.sampled_from([0, 1, 2, 3])
)
def test_every_id_is_found(container: str, form: int) -> None:
    """Whatever its id, a container is found below whatever parents."""
    path = (
        f"/a.slice/docker-{container}.scope/x",
        f"/docker/{container}",
        f"/machine.slice/libpod-{container}.scope/container",
        f"{KUBE}/cri-containerd-{container}.scope",
    )[form]
    assert origin(path).container == container
