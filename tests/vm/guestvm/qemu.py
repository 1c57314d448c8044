# SPDX-License-Identifier: Apache-2.0
"""The QEMU command line: a pure function of what is wanted."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

PORTS = 8  # commands that can run in one guest at the same time
PORT_NAME = "agentcg.{}"
DISK = "disk.qcow2"
CONSOLE = "console.log"
QMP_SOCKET = "qmp"
PORT_SOCKET = "port{}"

# Guest instructions take 2**3 ns each: about what emulation reaches, so that time outs that a
# program measures by the guest's clock mean roughly what they say.
ICOUNT_SHIFT = 3
RTC_BASE = "2026-01-01T00:00:00"

_MACHINE = "q35,vmport=off,smm=off"
_APPEND = "console=ttyS0 quiet panic=-1 oops=panic systemd.show_status=0 mitigations=off"
# Nothing random, so that every boot executes the same instructions.
_APPEND_DETERMINISTIC = (
    "nokaslr norandmaps randomize_kstack_offset=off random.trust_cpu=off "
    "random.trust_bootloader=off no_timer_check"
)


@dataclass(frozen=True)
class Machine:
    """What kind of guest: everything that its snapshot depends on."""

    kernel: str
    cpu_model: str
    vmlinux: Path
    initrd: Path
    root: Path
    root_bytes: int
    memory_bytes: int
    cpus: int
    deterministic: bool = False


def qemu_argv(machine: Machine, program: str, ram: Path | None = None) -> list[str]:
    """The command; it expects its working directory to be the guest's own.

    `ram` is a saved state to go on from, which leaves the guest stopped.
    """
    root = _memory_root(machine) if machine.deterministic else _disk_root(machine)
    return [
        program,
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-smp", str(machine.cpus), "-kernel", str(machine.vmlinux)),
        *("-initrd", str(machine.initrd)),
        *root,
        *_clock(machine),
        *_devices(machine),
        *(["-incoming", f"exec:zstd -dcq {shlex.quote(str(ram))}"] if ram else []),
    ]


def _disk_root(machine: Machine) -> list[str]:
    return [
        *("-machine", _MACHINE, "-m", f"{machine.memory_bytes >> 20}M"),
        *("-drive", f"file={DISK},format=qcow2,if=none,id=root,cache=unsafe,discard=unmap"),
        *("-device", "virtio-blk-pci,drive=root,serial=root"),
        *("-append", f"{_APPEND} root=/dev/vda"),
    ]


def _memory_root(machine: Machine) -> list[str]:
    """The root as an NVDIMM, mapped copy-on-write.

    A disk answers when the host gets round to it, and while a deterministic guest waits its
    time rushes from timer to timer. Memory answers at once.
    """
    most = machine.memory_bytes + 2 * machine.root_bytes
    file = f"mem-path={machine.root},share=off,size={machine.root_bytes}"
    return [
        *("-machine", f"{_MACHINE},nvdimm=on"),
        *("-m", f"{machine.memory_bytes >> 20}M,slots=1,maxmem={most >> 20}M"),
        *("-object", f"memory-backend-file,id=root,{file}"),
        *("-device", "nvdimm,id=nvdimm0,memdev=root"),
        *("-append", f"{_APPEND} {_APPEND_DETERMINISTIC} root=/dev/pmem0"),
    ]


def _clock(machine: Machine) -> list[str]:
    if not machine.deterministic:
        # One thread for all CPUs: with a thread each, a kernel that patches its own code
        # (tracepoints that come and go) now and then trips over a stale int3 and dies.
        return ["-accel", "tcg,thread=single,tb-size=512", "-cpu", machine.cpu_model]
    return [
        *("-accel", "tcg,thread=single,tb-size=512"),
        *("-cpu", f"{machine.cpu_model},-rdrand,-rdseed"),
        *("-icount", f"shift={ICOUNT_SHIFT},sleep=off"),
        *("-rtc", f"base={RTC_BASE},clock=vm"),
    ]


def _devices(machine: Machine) -> list[str]:
    devices = [
        *("-chardev", f"file,id=console,path={CONSOLE}", "-serial", "chardev:console"),
        *("-qmp", f"unix:{QMP_SOCKET},server=on,wait=off"),
        *("-device", f"virtio-serial-pci,max_ports={PORTS + 1}"),
    ]
    if not machine.deterministic:
        devices += ["-device", "virtio-rng-pci"]
    for index in range(PORTS):
        socket = f"socket,id=port{index},path={PORT_SOCKET.format(index)},server=on,wait=off"
        port = f"virtserialport,chardev=port{index},name={PORT_NAME.format(index)}"
        devices += ["-chardev", socket, "-device", port]
    return devices
