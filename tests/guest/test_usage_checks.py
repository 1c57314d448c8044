# SPDX-License-Identifier: Apache-2.0
"""Fields of an account against what does not go through agentcg: getrusage, /proc, the host's own
counters, the swap device."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgroup_support import until
from daemon_support import Api
from usage_support import accounts, host_counter, tool

MIB = 1 << 20
PATIENCE_S = 300.0  # the guest is emulated, and the programs are compiled first
POLICY = Path("/etc/agentcg/policies.d/60-checks.yaml")
SWAP = Path("/var/tmp/agentcg-swap")
TOUCH = """
import mmap
before = used("ru_minflt"), cpu()
memory = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
for offset in range(0, len(memory), 4096): memory[offset] = 1
while cpu() - before[1] < 1: pass
tell(faults=used("ru_minflt") - before[0], cpu_s=cpu() - before[1], rss=used("ru_maxrss") * 1024)
"""
SWAPPED = """
import mmap
memory = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
for offset in range(0, len(memory), 4096): memory[offset] = offset % 251 + 1
out = next(line for line in open("/proc/self/status") if line.startswith("VmSwap:"))
tell(swapped=int(out.split()[1]) * 1024)
for offset in range(0, 16 << 20, 4096): assert memory[offset]
tell()
"""
IO = """
path = "/var/tmp/agentcg-checks"
with open(path, "wb") as file:
    for _ in range(16): file.write(os.urandom(1 << 20))
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
with open(path, "rb") as file:
    while file.read(1 << 20): pass
os.unlink(path)
tell(**{line.split(":")[0]: int(line.split(":")[1]) for line in open("/proc/self/io")})
"""


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """The daemon of the unit, once BPF accounts; a tool `Small` may have 24M."""
    POLICY.parent.mkdir(parents=True, exist_ok=True)
    POLICY.write_text("version: 1\ncalls:\n  - {match: {tool: Small}, memory_max: 24M}\n")
    subprocess.run(["systemctl", "restart", "agentcgd"], check=True)
    daemon = Api(Path("/run/agentcg/agentcg.sock"))
    until(lambda: accounts(daemon), PATIENCE_S)
    yield daemon
    daemon.close_all()
    POLICY.unlink()
    subprocess.run(["systemctl", "reload", "agentcgd"], check=True)


def test_cpu_faults_and_memory_against_getrusage(api: Api) -> None:
    """CPU time and minor faults are what the process read of itself; the peak is its growth, and
    not more than it ever had."""
    with tool(api, TOUCH) as running:
        said = running.says()
        used = running.account()
    assert said["faults"] > 16_000
    # The kernel brings memory.stat up to date when enough has changed: 128 events for each CPU.
    late = 128 * (os.cpu_count() or 1)
    assert said["faults"] - late <= used["page_faults_minor"] < said["faults"] * 1.02 + 300
    cpu_s = (used["cpu_user_us"] + used["cpu_system_us"]) / 1e6
    assert said["cpu_s"] <= cpu_s < said["cpu_s"] * 1.2 + 0.5
    assert 64 * MIB <= used["memory_peak_bytes"] <= said["rss"] + 8 * MIB
    assert used["wall_s"] >= said["cpu_s"]


@pytest.fixture
def swap() -> Iterator[None]:
    """A file to swap to."""
    with SWAP.open("wb") as file:
        for _ in range(128):
            file.write(bytes(MIB))
    SWAP.chmod(0o600)
    subprocess.run(["mkswap", SWAP], check=True, capture_output=True)
    subprocess.run(["swapon", SWAP], check=True)
    yield
    subprocess.run(["swapoff", SWAP], check=True)
    SWAP.unlink()


@pytest.mark.usefixtures("swap")
def test_swap_against_the_process_and_the_host(api: Api) -> None:
    """What a call of 24M has swapped out when it has touched 64M is what its process says; what
    went out and came in is what the host's counters moved by."""
    before = {name: host_counter(name) for name in ("pswpout", "pswpin")}
    with tool(api, SWAPPED, "Small") as running:
        said = running.says()
        assert running.account()["swap_peak_bytes"] >= said["swapped"] > 36 * MIB
        running.says()
        used = running.account()
        out, into = (4096 * (host_counter(name) - old) for name, old in before.items())
        counted = "pswpout" in (Path(running.call["cgroup"]) / "memory.stat").read_text()
    assert used["memory_max_events"] + used["memory_high_events"] > 0
    assert used["memory_some_us"] > 0
    if not counted:  # before 6.13
        assert (used["swap_out_bytes"], used["swap_in_bytes"]) == (None, None)
        return
    assert 36 * MIB < used["swap_out_bytes"] <= out < used["swap_out_bytes"] * 1.2 + MIB
    assert 8 * MIB < used["swap_in_bytes"] <= into < used["swap_in_bytes"] * 1.2 + MIB


def test_io_against_the_process_own_count(api: Api) -> None:
    """Bytes that went to and came from the disk are those of /proc/PID/io, but for what the file
    system writes of its own."""
    with tool(api, IO) as running:
        said = running.says()
        used = running.account()
    assert said["write_bytes"] >= 16 * MIB
    assert 0.9 * said["write_bytes"] <= used["io_write_bytes"] <= 1.2 * said["write_bytes"]
    assert said["read_bytes"] >= 15 * MIB
    assert used["io_read_bytes"] == pytest.approx(said["read_bytes"], rel=0.1)
    assert used["io_write_operations"] > 0
    assert used["io_read_operations"] > 0


def test_status_of_the_first_process_against_wait(api: Api) -> None:
    """Also of one that a signal ended."""
    with tool(api, "os.abort()") as running:
        assert running.process.stdin is not None
        running.process.stdin.write("\n")
        running.process.stdin.flush()
        assert running.process.wait() == -6
        until(lambda: running.account()["first_exit_status"] == 128 + 6)


def test_stall_is_part_of_what_the_host_says(api: Api) -> None:
    """Time in which a call waited for a CPU that it shares is in the host's PSI, too, and not
    more than that, but for how each weighs the CPUs: by how long it is not idle on them, so that
    the host counts those, too, on which others run and nobody waits."""

    def host_us() -> int:
        line = Path("/proc/pressure/cpu").read_text().splitlines()[0]
        return int(line.rpartition("total=")[2])

    busy = "import os\nfor _ in range(7):\n if os.fork() == 0: break\nstart = cpu()\n"
    before = host_us()
    with tool(api, busy + "while cpu() - start < 0.5: pass\ntell()") as running:
        running.says()
        used = running.account()
        moved = host_us() - before
    assert 0 < used["cpu_some_us"] <= (os.cpu_count() or 1) * moved
