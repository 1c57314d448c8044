# SPDX-License-Identifier: Apache-2.0
"""What accounting by BPF needs of this host, and what of it is there."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agentcg.bpf import bcc_module, btf, libbpf, pins
from agentcg.errors import BpfError

_CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}  # linux/capability.h


@dataclass(frozen=True)
class Feature:
    """One thing that is needed; `remedy` is "" where it is available."""

    name: str
    available: bool
    detail: str
    remedy: str = ""


def probe() -> list[Feature]:
    """All needs, cheapest first. Loads, attaches and changes nothing."""
    checks: tuple[Callable[[], Feature], ...] = (
        _bcc,
        _libbpf,
        _bpffs,
        _capabilities,
        _raw_tracepoints,
        _btf,
        _oom_victims,
    )
    return [check() for check in checks]


def _bcc() -> Feature:
    found = bcc_module.find()
    if found is None:
        return Feature("bcc", False, "not installed", bcc_module.REMEDY)
    return Feature("bcc", True, f"{found.version} in {found.directory}")


def _libbpf() -> Feature:
    try:
        return Feature("libbpf", True, libbpf.version())
    except OSError as error:
        return Feature("libbpf", False, str(error), "install libbpf1 (Fedora: libbpf)")


def _bpffs() -> Feature:
    try:
        pins.require_bpffs(pins.PIN_ROOT)
    except BpfError as error:
        return Feature("bpffs", False, error.message, error.remedy)
    return Feature("bpffs", True, f"holds {pins.PIN_ROOT}")


def _capabilities() -> Feature:
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    held = {name for name, bit in _CAPABILITIES.items() if effective >> bit & 1}
    enough = "CAP_SYS_ADMIN" in held or held >= {"CAP_BPF", "CAP_PERFMON"}
    remedy = "" if enough else "run as root, or with CAP_BPF and CAP_PERFMON"
    return Feature("capabilities", enough, ", ".join(sorted(held)) or "none", remedy)


def _raw_tracepoints() -> Feature:
    """A kernel with the command looks at the program's descriptor first: EBADF is a yes."""
    try:
        result = libbpf.library().bpf_raw_tracepoint_open(b"sched_process_exec", -1)
    except OSError as error:
        return Feature("raw tracepoints", False, str(error), "install libbpf1")
    reason = ctypes.get_errno() if result < 0 else 0
    if reason == errno.EBADF:
        return Feature("raw tracepoints", True, "supported by bpf(2)")
    remedy = "CONFIG_BPF_EVENTS=y is needed, and a seccomp filter must let bpf(2) pass"
    return Feature("raw tracepoints", False, errno.errorcode.get(reason, str(reason)), remedy)


def _btf() -> Feature:
    name, remedy = "btf", "a kernel with CONFIG_DEBUG_INFO_BTF=y is needed"
    try:
        with btf.Btf.vmlinux() as kernel:
            btf.definitions(kernel)
    except OSError as error:
        return Feature(name, False, _reason(error), remedy)
    return Feature(name, True, "/sys/kernel/btf/vmlinux has every field that is read")


def _oom_victims() -> Feature:
    name, remedy = "oom victims", "the kernel's mark_victim names the task since 6.9"
    try:
        with btf.Btf.vmlinux() as kernel:
            available = kernel.takes_pointer("mark_victim", 0)
    except OSError as error:
        return Feature(name, False, _reason(error), remedy)
    detail = "tracepoint mark_victim" if available else "mark_victim passes a bare pid"
    return Feature(name, available, detail, "" if available else remedy)


def _reason(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
