# SPDX-License-Identifier: Apache-2.0
"""Where cgroup v2 is mounted, from what the kernel says about mounts."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.cgroups import Mount, find_mount
from agentcg.cgroups.mount import parse_mountinfo
from agentcg.errors import CgroupError

UNIFIED = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
28 24 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 \
rw,nsdelegate,memory_recursiveprot
"""
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def found(tmp_path: Path, text: str) -> Mount:
    """What is found on a host whose /proc/self/mountinfo is `text`."""
    (tmp_path / "mountinfo").write_text(text)
    return find_mount(tmp_path / "mountinfo")


def test_the_unified_hierarchy(tmp_path: Path) -> None:
    """The usual case: one cgroup2 mount at the usual place, with systemd's options."""
    mount = found(tmp_path, UNIFIED)
    assert mount.path == Path("/sys/fs/cgroup")
    assert (mount.nsdelegate, mount.memory_recursiveprot) == (True, True)
    assert (mount.favordynmods, mount.memory_localevents, mount.read_only) == (False,) * 3
    assert not mount.v1_controllers


def test_a_hybrid_hierarchy_says_which_controllers_are_elsewhere(tmp_path: Path) -> None:
    """Beside cgroup v1 the mount is one level down, and v1 keeps its controllers."""
    mount = found(tmp_path, HYBRID)
    assert mount.path == Path("/sys/fs/cgroup/unified")
    assert mount.v1_controllers == {"cpu", "cpuacct", "memory"}


def test_favordynmods_is_seen(tmp_path: Path) -> None:
    """The option that makes moving processes cheap is part of the file system's options."""
    assert found(tmp_path, UNIFIED.replace("rw,nsdelegate", "rw,favordynmods")).favordynmods


@pytest.mark.parametrize("text", [
    UNIFIED.replace("rw,nosuid", "ro,nosuid"),
    UNIFIED.replace("rw,nsdelegate", "ro,nsdelegate"),
])  # fmt: skip
def test_read_only_by_the_mount_or_by_its_file_system(tmp_path: Path, text: str) -> None:
    """Either way nothing can be written."""
    mount = found(tmp_path, text)
    assert mount.read_only
    assert "rw" not in mount.options


def test_a_later_mount_hides_an_earlier_one(tmp_path: Path) -> None:
    """What is mounted over the path counts, also if it is not a cgroup file system."""
    over = "50 28 0:50 / /sys/fs/cgroup ro,relatime - cgroup2 cgroup2 rw\n"
    assert found(tmp_path, UNIFIED + over).read_only
    with pytest.raises(CgroupError, match=r"no cgroup v2"):
        found(tmp_path, UNIFIED + over.replace("cgroup2", "tmpfs"))


def test_an_unusual_place_with_a_space_in_it(tmp_path: Path) -> None:
    """A mount anywhere is better than none; the kernel's escapes are undone."""
    text = "50 28 0:50 /part /mnt/c\\040g rw - cgroup2 none rw\n"
    mount = found(tmp_path, text)
    assert (mount.path, mount.root) == (Path("/mnt/c g"), "/part")


def test_no_cgroup_v2_says_how_to_get_it(tmp_path: Path) -> None:
    """Without cgroup v2 the error says what to boot with."""
    with pytest.raises(CgroupError, match=r"systemd\.unified_cgroup_hierarchy=1"):
        found(tmp_path, HYBRID.replace("cgroup2", "tmpfs"))


@given(st.text(max_size=200))
def test_any_text_parses_or_is_a_value_error(text: str) -> None:
    """No content of mountinfo leads to anything but an answer or a ValueError."""
    with contextlib.suppress(ValueError):
        parse_mountinfo(text)
