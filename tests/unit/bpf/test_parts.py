# SPDX-License-Identifier: Apache-2.0
"""Sizes, logs, keys and the probe: the small parts around the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agentcg.bpf import bcc_module, features, libbpf, pins
from agentcg.bpf.log import essence
from agentcg.bpf.tunables import Tunables
from agentcg.errors import BpfError, InvalidInput


@pytest.mark.parametrize(
    "wrong",
    [{"accounts": 0}, {"accounts": 1 << 21}, {"ring_pages": 3}, {"depth": 9}, {"depth": -1}],
)
def test_sizes_have_bounds(wrong: dict[str, int]) -> None:
    """Sizes that the kernel or the verifier would refuse are refused first."""
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        Tunables(**wrong)


def test_key_follows_sizes() -> None:
    """Other sizes are another set of pins; the same sizes are the same set."""
    assert pins.key_of(Tunables()) == pins.key_of(Tunables())
    assert pins.key_of(Tunables()) != pins.key_of(Tunables(depth=1))
    assert len(pins.key_of(Tunables())) == 16


def test_clang_log() -> None:
    """Of a compiler's log the first errors are kept, without source lines and notes."""
    log = (
        "In file included from x:3:\n"
        "/virtual/main.c:7:3: error: use of undeclared identifier 'OFF_X'\n"
        "  OFF_X\n  ^\n"
        "/virtual/main.c:9:3: error: expected ';'\n"
        "2 errors generated.\n"
    )
    assert essence(log) == (
        "/virtual/main.c:7:3: error: use of undeclared identifier 'OFF_X'"
        " | /virtual/main.c:9:3: error: expected ';'"
    )


def test_verifier_log() -> None:
    """Of a verifier's log the verdict is kept, which stands before its statistics."""
    steps = "".join(f"{n}: (85) call bpf_probe_read#113\n" for n in range(500))
    log = f"{steps}R2 unbounded memory access\nprocessed 500 insns (limit 1000000)\n\nHINT: x\n"
    assert essence(log) == "499: (85) call bpf_probe_read#113 | R2 unbounded memory access"


def test_libbpf_log() -> None:
    """Of libbpf's own log the cause is kept, not what follows from it."""
    cause = "libbpf: prog 'x': failed to find kernel BTF type ID of 'y': -3"
    log = (
        f"{cause}\nlibbpf: prog 'x': failed to prepare load attributes: -3\n"
        "libbpf: prog 'x': failed to load: -3\nlibbpf: failed to load object 'x.bpf.o'\n"
    )
    assert essence(log) == cause
    assert essence("libbpf: failed to load object 'x.bpf.o'\n").endswith("'x.bpf.o'")


@pytest.mark.parametrize(("log", "said"), [("", ""), ("\n \n", ""), ("a\nb\nc\nd\n", "b | c | d")])
def test_other_log(log: str, said: str) -> None:
    """Of any other log the last lines are kept; an empty one says nothing."""
    assert essence(log) == said


def test_log_is_bounded_and_printable() -> None:
    """Neither the length nor control characters of a log reach the message."""
    text = essence("error: \x1b[31m" + "x" * 100_000)
    assert len(text) < 250
    assert text.isprintable()


@pytest.mark.parametrize(
    ("output", "log", "message"),
    [
        (b'{"error": "no bcc", "remedy": "install it"}', b"", "no bcc; install it"),
        (b"", b"Segmentation fault\n", "ended with 1: Segmentation fault"),
        (b'{"error": "no"}', b"", "ended with 1"),
        (b"[1]", b"", "ended with 1"),
    ],
)
def test_what_the_helper_said(output: bytes, log: bytes, message: str) -> None:
    """A helper that says why it failed is quoted; one that does not is described."""
    assert str(pins._helper_error(1, output, log)).endswith(message)


def test_importing_the_package_loads_no_compiler() -> None:
    """The daemon's process never maps bcc or LLVM by importing this package."""
    script = "import agentcg.bpf as b; b.probe(); print(open('/proc/self/maps').read())"
    maps = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert "libbpf" in maps
    assert "libbcc" not in maps
    assert "LLVM" not in maps


def test_probe_names_everything_once() -> None:
    """Each need has its name, says what was found, and has a remedy exactly if it is missing."""
    found = features.probe()
    assert [f.name for f in found] == [
        "bcc", "libbpf", "bpffs", "capabilities", "raw tracepoints", "btf", "oom victims",
    ]  # fmt: skip
    assert all(f.detail and bool(f.remedy) is not f.available for f in found)


def test_probe_without_bcc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing bcc is a finding with the package to install, not an error."""
    monkeypatch.setattr(bcc_module, "find", lambda: None)
    bcc = features.probe()[0]
    assert (bcc.available, bcc.remedy) == (False, bcc_module.REMEDY)


def test_probe_without_libbpf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libbpf every check that needs it says so, and none fails."""

    def missing() -> None:
        raise OSError("libbpf.so.1: cannot open shared object file")

    monkeypatch.setattr(libbpf, "library", missing)
    found = {f.name: f for f in features.probe()}
    for name in ("libbpf", "raw tracepoints", "btf", "oom victims"):
        assert not found[name].available
        assert "libbpf.so.1" in found[name].detail


def test_bcc_is_found_outside_of_a_virtual_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The distribution's bcc is found although the interpreter's own path has none."""
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc/libbcc.py").write_text("")
    (tmp_path / "bcc/version.py").write_text("__version__ = '9.9'\n")
    monkeypatch.setattr(bcc_module.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(bcc_module, "_DISTRIBUTION", (str(tmp_path),))
    assert bcc_module.find() == bcc_module.Bcc(tmp_path / "bcc", "9.9")


def test_no_bcc_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a bcc that is nowhere is an error with the package to install."""
    monkeypatch.setattr(bcc_module, "find", lambda: None)
    with pytest.raises(BpfError, match=r"bcc is not installed; .*python3-bpfcc"):
        bcc_module.load()


def test_only_bpffs_holds_pins(tmp_path: Path) -> None:
    """A directory on another file system is refused with the mount that is needed."""
    with pytest.raises(BpfError, match="mount -t bpf"):
        pins.require_bpffs(tmp_path)
