# SPDX-License-Identifier: Apache-2.0
"""What BPF says of a leaf's waits, sockets and CPU over time, against what its processes say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from agentcg.bpf import Accounting, Counters
from agentcg.bpf.tunables import Tunables
from bpf_support import Leaf, leaf, pin_root

SPIN = "import time\nwhile time.process_time() < {seconds}: pass\n"
SERVER = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
peer, _ = server.accept()
peer.sendall(b"x" * 300_000)
while peer.recv(65536): pass
"""
CLIENT = """
import socket, sys
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
assert peer.recv(1000, socket.MSG_PEEK)
left = 300_000
while left: left -= len(peer.recv(65536))
peer.sendall(b"y" * 70_001)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.sendto(b"z" * 29, ("::1", 9))
one, other = socket.socketpair()
one.sendall(b"not the internet")
assert other.recv(100)
try: socket.create_connection(("127.0.0.1", 9))
except OSError: pass
"""

# A client and a server in a network of their own; prints what their sockets and the device count.
BOTH = """
import ctypes, fcntl, socket, struct, threading
assert ctypes.CDLL(None).unshare(0x40000000) == 0  # CLONE_NEWNET
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
def received(peer):
    # tcpi_bytes_received (linux/tcp.h)
    information = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return struct.unpack_from("Q", information, 128)[0]
def serve():
    peer, _ = server.accept()
    left = 1_000_000
    while left: left -= len(peer.recv(65536))
    peer.sendall(b"y" * 200_000)
    peer.recv(1)
    told.append(received(peer))
told = []
server = socket.create_server(("127.0.0.1", 0))
thread = threading.Thread(target=serve)
thread.start()
peer = socket.create_connection(server.getsockname())
peer.sendall(b"x" * 1_000_000)
left = 200_000
while left: left -= len(peer.recv(65536))
told.append(received(peer))
peer.sendall(b"z")
thread.join()
device = next(line.split() for line in open("/proc/self/net/dev") if " lo:" in line)
print(sum(told), device[9], device[10])
"""


@pytest.fixture(scope="module")
def accounting() -> Iterator[Accounting]:
    with pin_root() as root:
        opened = Accounting.open(root, tunables=Tunables(tick_ms=1))
        yield opened
        opened.unpin()


def counted(accounting: Accounting, made: Leaf) -> Counters:
    counters = accounting.untrack(made.id)
    assert counters is not None
    return counters


def test_run_queue_wait_is_the_schedulers_own(accounting: Accounting) -> None:
    """Three processes that share a CPU: what they read of their own wait in /proc/self/schedstat
    just before they end is what was added up, but for the end itself."""
    # All are there before one begins. The end is short, so that little is waited in it.
    script = (
        "import os, sys\nsys.stdin.read()\n" + SPIN.format(seconds=0.2)
        + "os.write(1, open('/proc/self/schedstat', 'rb').read().split()[1])\nos._exit(0)"
    )  # fmt: skip
    cpu = min(os.sched_getaffinity(0))
    with leaf() as made:
        accounting.track(made.id)
        command = ["taskset", "-c", str(cpu), sys.executable, "-S", "-c", script]
        gate, opens = os.pipe()
        tools = [made.start(*command, stdin=gate, stdout=subprocess.PIPE) for _ in range(3)]
        os.close(gate)
        os.close(opens)
        said_us = sum(int(tool.communicate()[0]) for tool in tools) // 1000  # whole, as the account
        waited_us = counted(accounting, made).run_delay_us
    assert waited_us is not None
    assert said_us > 50_000
    assert said_us <= waited_us < said_us * 1.5 + 100_000


def test_threads_wait_too(accounting: Accounting) -> None:
    """The wait of every thread counts, not of the first alone."""
    script = (
        "import threading, os\n"
        "def work():\n os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        " for _ in range(20000): os.getppid()\n"
        "threads = [threading.Thread(target=work) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    with leaf() as made:
        accounting.track(made.id)
        assert made.python(script) == 0
        counters = counted(accounting, made)
    assert counters.threads == 8
    assert (counters.run_delay_us or 0) > 0


def test_network_bytes_are_those_of_the_sockets(accounting: Accounting) -> None:
    """Payload of IPv4 and IPv6, peeks and Unix sockets left out; connections that it began, failed
    ones too; nothing of the other side."""
    server = subprocess.Popen([sys.executable, "-S", "-c", SERVER], stdout=subprocess.PIPE)
    assert server.stdout is not None
    port = server.stdout.readline().decode().strip()
    with leaf() as made:
        accounting.track(made.id)
        assert made.run(sys.executable, "-S", "-c", CLIENT, port) == 0
        counters = counted(accounting, made)
    assert server.wait() == 0
    assert (counters.received_bytes, counters.sent_bytes) == (300_000, 70_001 + 29)
    assert counters.connections == 2


def test_network_bytes_against_socket_and_device_counters(accounting: Accounting) -> None:
    """What both sides of a connection sent is what TCP says that they received, and what the device
    carried but for headers and repetitions."""
    with leaf() as made:
        accounting.track(made.id)
        tool = made.start(sys.executable, "-S", "-c", BOTH, stdout=subprocess.PIPE)
        said, carried, packets = map(int, tool.communicate()[0].split())
        counters = counted(accounting, made)
    assert said == 1_200_001
    assert (counters.sent_bytes, counters.received_bytes, counters.connections) == (said, said, 1)
    assert said + 40 * packets <= carried <= said * 1.2 + 80 * packets  # some is sent twice


def test_curve_adds_up_to_the_cpu_time() -> None:
    """The last point is the CPU time of the leaf, no more, but for what is left out where others
    wake up on its CPU (on_runtime), before the daemon scales it; it covers the whole life."""
    with (
        leaf() as session,
        pin_root() as root,
        Accounting.open(root, scope=session.path) as accounting,
    ):
        made = session.child("call")  # nobody else's time is sampled
        accounting.track(made.id)
        made.python(SPIN.format(seconds=0.5))
        curve = accounting.curve(made.id)
        text = (made.path / "cpu.stat").read_text()
        used_s = int(text.partition("usage_usec ")[2].split()[0]) / 1e6
    assert curve is not None
    assert 0.5 * used_s <= curve.points[-1].cpu_s <= used_s + 0.02
    assert curve.points[0].t_s == 0.0
    assert curve.points[-1].t_s >= 0.3


def test_a_long_curve_has_points_further_apart(accounting: Accounting) -> None:
    """When its room is taken two points become one: a curve never stops, and never grows."""
    with leaf() as made:
        accounting.track(made.id)
        made.python(SPIN.format(seconds=6.0))
        curve = accounting.curve(made.id)
    assert curve is not None
    assert curve.gap_ms > 1
    assert 128 <= len(curve.points) <= 256
    assert curve.points[-1].cpu_s == pytest.approx(6.0, rel=0.2)
    apart = [(b.t_s - a.t_s) * 1000 for a, b in zip(curve.points, curve.points[1:], strict=False)]
    assert min(apart) >= 1


def test_a_leaf_without_cpu_time_has_no_curve(accounting: Accounting) -> None:
    """Nothing is kept for a leaf in which nothing ran, nor after it is no longer tracked."""
    with leaf() as made:
        accounting.track(made.id)
        assert accounting.curve(made.id) is None
        made.python(SPIN.format(seconds=0.05))
        assert accounting.curve(made.id) is not None
        counted(accounting, made)
        assert accounting.curve(made.id) is None
