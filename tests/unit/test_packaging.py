# SPDX-License-Identifier: Apache-2.0
"""What is built from the sources is whole, and runs without them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import agentcg

ROOT = Path(__file__).parents[2]
PARTS = ("bpf", "cgroups", "daemon", "policies")
DATA = {".c", ".h", ".json", ".py", ".yaml"}
OBJECTS = {f"agentcg/bpf/{source.stem}.o" for source in (ROOT / "bpf").glob("*.bpf.c")}
NOT_SOURCES = shutil.ignore_patterns(
    ".git", ".venv", ".cache", ".*_cache", ".hypothesis", "build", "dist", "tests",
    "*.egg-info", "*.bpf.o", "__pycache__",
)  # fmt: skip


def build(sources: Path, out: Path, *what: str) -> None:
    """Build from `sources` into `out`, as a distributor would."""
    command = [sys.executable, "-m", "build", *what, "--outdir", str(out), str(sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def contents(wheel: Path) -> dict[str, bytes]:
    """What a wheel installs, by path; its own bookkeeping apart."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/RECORD")]
        return {name: archive.read(name) for name in names}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("sources") / "agentcg"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=NOT_SOURCES)
    return copy


@pytest.fixture(scope="module")
def dist(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    build(sources, out)
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The one wheel in `dist`, which runs on any machine."""
    (found,) = dist.glob("*.whl")
    assert found.name == f"agentcg-{agentcg.__version__}-py3-none-any.whl"
    return found


def test_the_wheel_has_every_source_and_data_file(sources: Path, wheel: Path) -> None:
    """Programs, headers, policies and schemas of all four folders are installed."""
    expected = {
        f"agentcg/{path.relative_to(sources)}"
        for part in PARTS
        for path in (sources / part).rglob("*")
        if path.suffix in DATA
    }
    own = sources / "src/agentcg"
    expected |= {
        f"agentcg/{path.relative_to(own)}" for path in own.rglob("*") if path.suffix in DATA
    }
    assert expected <= set(contents(wheel))
    assert OBJECTS
    assert expected | OBJECTS <= set(contents(wheel))
    assert "agentcg/py.typed" in contents(wheel)


def test_the_wheel_brings_the_units_and_both_licences(sources: Path, wheel: Path) -> None:
    """A host that has only the wheel can install the units, and knows the terms."""
    names = set(contents(wheel))
    for path in (sources / "systemd").rglob("*"):
        if path.is_file():
            installed = f"share/agentcg/{path.relative_to(sources)}"
            assert any(name.endswith(installed) for name in names), path
    assert {"LICENSE", "GPL-2.0-only.txt"} <= {Path(name).name for name in names}


def test_the_wheel_has_no_tests(wheel: Path) -> None:
    """Nothing but the program is installed."""
    assert not [name for name in contents(wheel) if "test" in name]


def test_the_sdist_stands_alone(sources: Path, dist: Path, tmp_path: Path) -> None:
    """The sdist has no links out of itself and builds the wheel that the checkout builds."""
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert not [member.name for member in archive if member.issym() or member.islnk()]
    build(sources, tmp_path, "--wheel")
    (direct,) = tmp_path.glob("*.whl")
    (through_sdist,) = dist.glob("*.whl")
    assert contents(direct) == contents(through_sdist)


def test_the_wheel_runs_without_the_sources(wheel: Path, tmp_path: Path) -> None:
    """In an empty environment both commands start, and the units can be found."""
    venv.create(tmp_path / "venv", with_pip=True)
    bin_path = tmp_path / "venv" / "bin"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(bin_path / "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    where = run(bin_path / "python", "-c", "import agentcg; print(agentcg.__file__)")
    assert Path(where.strip()).is_relative_to(tmp_path)
    assert agentcg.__version__ in run(bin_path / "agentcg", "--version")
    assert "--root" in run(bin_path / "agentcgd", "--help")
    installer = tmp_path / "venv/share/agentcg/systemd/install"
    assert os.access(installer, os.X_OK)
