# SPDX-License-Identifier: Apache-2.0
"""Cost of a call on the API: begin and end, as a tool's caller meets them.

    sudo .venv/bin/python tests/bench/api.py [--json OUT]      own daemon, own cgroup
    sudo .venv/bin/python tests/bench/api.py --socket /run/agentcg/agentcg.sock

Clients are processes of their own that write raw HTTP on a kept connection, so that what is
measured is the daemon and not a client library. Three figures, each in every run:

- *alone*: one client, begin + end one after another: latency of the pair;
- *sustained*: `--clients` clients together ask for `--rate` pairs a second on a fixed
  schedule. Latency counts from the scheduled time, so a daemon that falls behind cannot hide
  it ("coordinated omission"), and it is shown by second, so that growth would be seen;
- *idle*: resident memory and CPU time of the daemon while nothing is asked.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentcg.bpf import Accounting
from agentcg.cgroups import Cgroup, find_mount

WARM_UP = 20
READY_S = 180.0  # the guest is emulated
BEGIN = b'{"tool":"Bash","command":"make test","memory_bytes":268435456}'
END = b'{"exit_status":0}'


class Raw:
    """HTTP/1.1 by hand on one kept connection."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)

    def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._socket.recv(65536)
        head_bytes, _, rest = data.partition(b"\r\n\r\n")
        lower = head_bytes.lower()
        length = 0
        if b"content-length:" in lower:
            length = int(lower.partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(rest) < length:
            rest += self._socket.recv(65536)
        return int(head_bytes[9:12]), rest

    def pair(self, session: str) -> None:
        """Begin a call and end it."""
        status, body = self.ask("POST", f"/v1/sessions/{session}/calls", BEGIN)
        if status != 201:
            raise RuntimeError(body.decode())
        call = body.partition(b'"id":"')[2].partition(b'"')[0].decode()
        status, body = self.ask("POST", f"/v1/calls/{call}/end", END)
        if status != 200:
            raise RuntimeError(body.decode())


@contextmanager
def session(path: str, name: str) -> Iterator[Raw]:
    """A connection and a session, closed at the end."""
    raw = Raw(path)
    status, body = raw.ask("POST", "/v1/sessions", json.dumps({"name": name}).encode())
    if status not in (200, 201):
        raise RuntimeError(body.decode())
    try:
        yield raw
    finally:
        raw.ask("DELETE", f"/v1/sessions/{name}?kill=true")


def quantiles(latencies_s: list[float]) -> dict[str, float]:
    """Milliseconds: median, 99%, largest."""
    ordered = sorted(latencies_s)
    at = [ordered[int(q * (len(ordered) - 1))] * 1000 for q in (0.5, 0.99, 1.0)]
    return dict(zip(("p50_ms", "p99_ms", "max_ms"), (round(v, 3) for v in at), strict=True))


def alone(path: str, pid: int, pairs: int) -> dict[str, float]:
    """One client, one pair after another."""
    name = f"bench-{secrets.token_hex(3)}"
    with session(path, name) as raw:
        for _ in range(pairs // 10):
            raw.pair(name)
        latencies = []
        cpu_s = _cpu_s(pid)
        for _ in range(pairs):
            began = time.perf_counter()
            raw.pair(name)
            latencies.append(time.perf_counter() - began)
        cpu_us = (_cpu_s(pid) - cpu_s) / pairs * 1e6
    return {**quantiles(latencies), "daemon_cpu_us_per_pair": round(cpu_us)}


def _scheduled(
    path: str, offset_s: float, interval_s: float, count: int, ready: Any, out: Any
) -> None:
    name = f"bench-{os.getpid()}"
    seen: list[tuple[float, float]] = []
    with session(path, name) as raw:
        for _ in range(WARM_UP):
            raw.pair(name)
        ready.wait()
        start = time.perf_counter() + offset_s
        for turn in range(count):
            due = start + turn * interval_s
            if (left := due - time.perf_counter()) > 0:
                time.sleep(left)
            raw.pair(name)
            seen.append((due - start, time.perf_counter() - due))
    out.put(seen)


def sustained(path: str, clients: int, rate: int, seconds: int) -> dict[str, Any]:
    """`clients` processes, together `rate` pairs a second."""
    out: Any = multiprocessing.Queue()
    ready = multiprocessing.Barrier(clients)
    workers = [
        multiprocessing.Process(
            target=_scheduled,
            args=(path, n / rate, clients / rate, rate * seconds // clients, ready, out),
        )
        for n in range(clients)
    ]
    for worker in workers:
        worker.start()
    seen = [pair for _ in workers for pair in out.get(timeout=seconds * 10 + 60)]
    for worker in workers:
        worker.join()
    took = max(at + latency for at, latency in seen)
    by_second = [[] for _ in range(seconds)]  # type: list[list[float]]
    for at, latency in seen:
        by_second[min(int(at), seconds - 1)].append(latency)
    return {
        "clients": clients,
        "asked_per_s": rate,
        "done_per_s": round(len(seen) / took, 1),
        **quantiles([latency for _, latency in seen]),
        "by_second": [quantiles(latencies) for latencies in by_second if latencies],
    }


def idle(pid: int, seconds: int) -> dict[str, float]:
    """Memory, and CPU as a share of one core."""
    before, began = _cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    share = (_cpu_s(pid) - before) / (time.monotonic() - began)
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    sizes = {key: round(int(status[key].split()[0]) / 1024, 1) for key in ("VmRSS", "RssAnon")}
    return {"rss_mib": sizes["VmRSS"], "anon_mib": sizes["RssAnon"],
            "cpu_percent": round(share * 100, 3), "seconds": seconds}  # fmt: skip


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def own_daemon(bpf: str) -> Iterator[str]:
    """agentcgd on a cgroup of its own; its socket."""
    name = f"agentcg-bench-{secrets.token_hex(3)}"
    path, pins = f"/tmp/{name}.sock", Path(f"/sys/fs/bpf/{name}")
    with Cgroup.open(find_mount().path) as top, top.create(name) as parent:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "agentcg.daemon.main", "--root", str(parent.path / "sessions"),
             "--socket", path, "--require", "none", "--bpf", bpf,
             "--pins", str(pins), "--log-level", "warning"]
        )  # fmt: skip
        try:
            yield path
        finally:
            daemon.terminate()
            daemon.wait()
            if pins.exists():
                Accounting.open(pins).unpin()
            top.remove_tree(name)


def wait_ready(path: str) -> None:
    """Until the daemon answers and has decided how it accounts."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            if json.loads(Raw(path).ask("GET", "/v1/health")[1])["accounting"] != "starting":
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the daemon does not get ready")


def measure(path: str, asked: argparse.Namespace) -> dict[str, Any]:
    """All figures, `--runs` times."""
    wait_ready(path)
    health = json.loads(Raw(path).ask("GET", "/v1/health")[1])
    runs = []
    for _ in range(asked.runs):
        runs.append(
            {
                "alone": alone(path, health["pid"], asked.pairs),
                "sustained": sustained(path, asked.clients, asked.rate, asked.seconds),
            }
        )
    return {
        "kernel": os.uname().release,
        "cpus": os.cpu_count(),
        "accounting": health["accounting"],
        "runs": runs,
        "median": {
            "alone_p50_ms": statistics.median(r["alone"]["p50_ms"] for r in runs),
            "alone_p99_ms": statistics.median(r["alone"]["p99_ms"] for r in runs),
            "sustained_per_s": statistics.median(r["sustained"]["done_per_s"] for r in runs),
            "sustained_p99_ms": statistics.median(r["sustained"]["p99_ms"] for r in runs),
        },
        "idle": idle(health["pid"], asked.idle),
    }


def main() -> None:
    """Measure and print, or write, JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--socket", help="a running daemon's; else one is started")
    parser.add_argument("--bpf", choices=("auto", "off", "on"), default="auto")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rate", type=int, default=1000, help="pairs a second, all clients")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--idle", type=int, default=30, help="seconds")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.socket:
        result = measure(asked.socket, asked)
    else:
        with own_daemon(asked.bpf) as path:
            result = measure(path, asked)
    text = json.dumps(result, indent=2)
    if asked.json:
        asked.json.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
