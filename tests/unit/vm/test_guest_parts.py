# SPDX-License-Identifier: Apache-2.0
"""The guest's pure parts: the mirror, QEMU's command line, the kernel image, the archive."""

import gzip
import io
import lzma
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from guestvm.errors import GuestError, UsageError
from guestvm.host import KEYRING_PACKAGE, PROGRAMS, choose_mirror
from guestvm.instance import check_name
from guestvm.project import CHECKOUT, items, pack
from guestvm.qemu import Machine, qemu_argv
from guestvm.vmlinux import decompress, payload

MACHINE = Machine(
    kernel="stable",
    cpu_model="max,-cx16",
    vmlinux=Path("/c/vmlinux"),
    initrd=Path("/c/initrd"),
    root=Path("/c/root.img"),
    root_bytes=4 << 30,
    memory_bytes=3 << 30,
    cpus=2,
)


def test_the_mirror_is_the_hosts_own() -> None:
    """Debian's main archive counts, not its security archive, nor other publishers' ones."""
    lines = [
        "https://other.example/apt bookworm Other Other",
        "https://mirror.example/debian-security bookworm-security Debian Debian-Security",
        "https://mirror.example/debian bookworm Debian Debian",
    ]
    assert choose_mirror(lines) == "https://mirror.example/debian"


def test_the_mirror_is_found_before_lists_are_fetched() -> None:
    """Without fetched lists apt knows no origin: the customary path decides."""
    lines = [
        "https://other.example/apt stable $(ORIGIN) $(LABEL)",
        "https://mirror.example/debian-security trixie-security $(ORIGIN) $(LABEL)",
        "https://mirror.example/debian/ trixie $(ORIGIN) $(LABEL)",
    ]
    assert choose_mirror(lines) == "https://mirror.example/debian"
    assert choose_mirror(["https://other.example/apt stable Other Other"]) is None


def test_make_installs_what_the_guest_needs() -> None:
    """Every package that has a program of ours is in the list that `make` installs from."""
    text = (CHECKOUT / "tests/packages.txt").read_text()
    listed = {line.partition("#")[0].strip() for line in text.splitlines()}
    assert {*PROGRAMS.values(), KEYRING_PACKAGE} <= listed


def test_a_guest_runs_in_one_thread_from_a_disk() -> None:
    """The usual guest: one thread for its CPUs, virtio disk, the host's random numbers."""
    line = " ".join(qemu_argv(MACHINE, "qemu"))
    assert "tcg,thread=single" in line
    assert "-cpu max,-cx16 " in line
    assert "-smp 2 " in line
    assert "-m 3072M " in line
    assert "root=/dev/vda" in line
    assert "virtio-rng" in line
    assert "-incoming" not in line


def test_a_deterministic_guest_has_nothing_that_varies() -> None:
    """Counted instructions, a fixed clock, a root in memory, no randomness from CPU or host."""
    line = " ".join(qemu_argv(replace(MACHINE, deterministic=True), "qemu"))
    assert "tcg,thread=single" in line
    assert "-icount shift=3,sleep=off" in line
    assert "-cpu max,-cx16,-rdrand,-rdseed" in line
    assert "clock=vm" in line
    assert "nokaslr norandmaps" in line
    assert "root=/dev/pmem0" in line
    assert "virtio-rng" not in line
    assert "virtio-blk" not in line


def test_a_saved_state_is_read_by_a_quoted_path() -> None:
    """A cache directory with a space in its name works."""
    argv = qemu_argv(MACHINE, "qemu", Path("/my cache/ram.zst"))
    assert argv[argv.index("-incoming") + 1] == "exec:zstd -dcq '/my cache/ram.zst'"


@pytest.mark.parametrize("name", ["", "A", "-x", "a/b", "..", "a" * 33, "a b", "a\0"])
def test_a_name_is_a_hostname(name: str) -> None:
    """What could leave the directory of running guests is refused."""
    with pytest.raises(UsageError, match="is no guest's name"):
        check_name(name)


def bzimage(compressed: bytes) -> bytes:
    """A kernel image with two setup sectors that holds `compressed` at offset 16."""
    header = bytearray(3 * 512)
    header[0x1F1] = 2
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", header, 0x248, 16, len(compressed))
    return bytes(header) + bytes(16) + compressed + b"more"


def test_the_plain_kernel_is_taken_out_of_its_image() -> None:
    """gzip and xz payloads come out whole; the size that follows them is not part of them."""
    kernel = b"\x7fELF" + bytes(10_000)
    size = struct.pack("<I", len(kernel))
    assert decompress(payload(bzimage(gzip.compress(kernel) + size))) == kernel
    assert decompress(payload(bzimage(lzma.compress(kernel) + size))) == kernel


@pytest.mark.parametrize(
    "image", [b"", bytes(4096), bzimage(gzip.compress(b"x" * 99))[:1570], bzimage(b"")]
)
def test_what_is_no_kernel_is_refused(image: bytes) -> None:
    """Truncated images and other files are errors."""
    with pytest.raises(GuestError, match="vmlinuz"):
        payload(image)


def test_an_unknown_compression_is_refused() -> None:
    """The error shows how the payload begins."""
    with pytest.raises(GuestError, match="unknown way: 030405"):
        decompress(b"\3\4\5")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small project of the shape of ours."""
    files = {
        "pyproject.toml": """
            [project.scripts]
            tool = "agentcg.daemon.cli:main"
            [tool.setuptools.package-data]
            "*" = ["*.yaml"]
            [tool.setuptools.data-files]
            "share/agentcg" = ["systemd/*.slice"]
        """,
        "daemon/cli.py": "def main(): ...",
        "daemon/default.yaml": "{}",
        "daemon/notes.txt": "not in the wheel",
        "daemon/__pycache__/cli.cpython-311.pyc": "",
        "systemd/agentcg.slice": "[Slice]",
        "systemd/install": "#!/bin/sh",
        "systemd/tmpfiles.d/agentcg.conf": "d /run/agentcg",
        "tests/guest/test_it.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "systemd/install").chmod(0o755)
    (tmp_path / "src/agentcg").mkdir(parents=True)
    (tmp_path / "src/agentcg/daemon").symlink_to("../../daemon")
    return tmp_path


def test_the_guest_gets_the_project_where_pip_and_install_put_it(checkout: Path) -> None:
    """Packages with their data, entry points, share files, units, and the tests beside them."""
    site = "usr/local/lib/python3.13/dist-packages/agentcg"
    assert {item.path for item in items(checkout)} == {
        f"{site}/daemon/cli.py",
        f"{site}/daemon/default.yaml",
        "usr/local/bin/tool",
        "usr/local/share/agentcg/agentcg.slice",
        "usr/local/lib/systemd/system/agentcg.slice",
        "usr/local/lib/tmpfiles.d/agentcg.conf",
        "srv/agentcg/pyproject.toml",
        "srv/agentcg/systemd/agentcg.slice",
        "srv/agentcg/systemd/install",
        "srv/agentcg/systemd/tmpfiles.d/agentcg.conf",
        "srv/agentcg/tests/guest/test_it.py",
    }


def test_entry_points_call_what_they_name(checkout: Path) -> None:
    """The script imports the function and exits with what it returns."""
    (script,) = (item for item in items(checkout) if item.path == "usr/local/bin/tool")
    assert script.executable
    assert b"from agentcg.daemon.cli import main\nsys.exit(main())" in script.data


def test_equal_checkouts_give_equal_archives(checkout: Path) -> None:
    """The key changes with any content, and with nothing else."""
    first = pack(items(checkout))
    (checkout / "daemon/cli.py").touch()
    assert pack(items(checkout)) == first
    (checkout / "tests/guest/test_it.py").write_text("# changed")
    assert pack(items(checkout)).key != first.key
    with tarfile.open(fileobj=io.BytesIO(first.archive)) as archive:
        assert archive.getmember("srv/agentcg/systemd/install").mode == 0o755
        assert archive.getmember("usr/local/bin/tool").mode == 0o755
        assert archive.getmember("srv/agentcg/pyproject.toml").mode == 0o644
