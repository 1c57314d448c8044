# SPDX-License-Identifier: Apache-2.0
"""What tool calls are for, from the tool's name and the command."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.policies import CATEGORIES, categorise

TRACES = Path(__file__).parents[4] / "shared" / "traces"


@pytest.mark.parametrize(
    ("tool", "category"),
    [
        ("Read", "search"), ("Grep", "search"), ("Glob", "search"), ("Edit", "edit"),
        ("Write", "edit"), ("MultiEdit", "edit"), ("WebFetch", "web"), ("WebSearch", "web"),
        ("TodoWrite", "other"), ("Task", "other"), ("Bash", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_tools_without_a_command(tool: str, category: str) -> None:
    """A tool that is no shell says by its name what it is for."""
    assert categorise(tool, None) == category


def test_a_path_is_no_command() -> None:
    """What a file tool works on does not change what it is for."""
    assert categorise("Read", "/srv/tests/pytest.ini") == "search"


@pytest.mark.parametrize(
    ("tool", "command", "category"),
    [
        ("python", "python -m pytest", "test"),
        ("python", "import pytest", "python"),
        ("find", "/usr/bin/find . -name x", "search"),
        ("make", "make test", "test"),
    ],
)
def test_a_tool_named_after_its_program(tool: str, command: str, category: str) -> None:
    """`agentcg run -- python -m pytest` is a call of the tool python, and a test run."""
    assert categorise(tool, command) == category


@pytest.mark.parametrize(
    ("command", "category"),
    [
        ("pytest -x tests", "test"),
        ("python -m pytest -q", "test"),
        ("/opt/venv/bin/python3.11 -m unittest discover", "test"),
        ("cd src && timeout -k 5 60 python -m pytest 2>&1 | tail -20", "test"),
        ("PYTHONPATH=. DEBUG=1 pytest", "test"),
        ("bash -lc 'cd /srv && npm test'", "test"),
        ("sh -c \"bash -c 'tox -e py311'\"", "test"),
        ("sudo -u ci nice -n 10 env A=b cargo test", "test"),
        ("uv run pytest", "test"),
        ("poetry run python -m pytest", "test"),
        ("coverage run -m pytest", "test"),
        ("npm run test:unit", "test"),
        ("./run_tests.sh", "test"),
        ("make -j4 test", "test"),
        ("python manage.py test app", "test"),
        ("for f in a b; do pytest $f; done", "test"),
        ("if pytest; then echo ok; fi", "test"),
        ("pip install -e . && pytest", "test"),
        ("pip install requests", "install"),
        ("python -m venv .venv", "install"),
        ("sudo apt-get install -y git", "install"),
        ("npm ci", "install"),
        ("uv sync", "install"),
        ("bash install_deps.sh", "install"),
        ("make -j8", "build"),
        ("cargo build --release", "build"),
        ("python setup.py build_ext --inplace", "build"),
        ("python3 -m py_compile a.py", "build"),
        ("npm run build", "build"),
        ("gcc -O2 a.c", "build"),
        ("python script.py | grep x", "python"),
        ("python3 - << 'EOF'\nimport pytest; git = 1\nEOF", "python"),
        ("python -c \"import os; os.system('pytest')\"", "python"),
        ("node app.js", "python"),
        ("ruff check .", "lint"),
        ("python -m mypy --strict src", "lint"),
        ("cargo clippy", "lint"),
        ("git log --oneline | head -5", "git"),
        ("cd x; git commit -m 'run pytest; make all'", "git"),
        ("ls && git status", "git"),
        ("curl -s https://example.org | head", "web"),
        ("grep -rn 'pip install' . | sort | uniq -c", "search"),
        ("find . -name '*.py' | xargs grep import", "search"),
        ("sed -n 1,20p file", "search"),
        ("which python", "search"),
        ("cat a.txt 2>/dev/null", "search"),
        ("sed -i s/a/b/ file", "edit"),
        ("cat > a.py << EOF\nimport pytest\nEOF", "fileop"),
        ("rm -rf build", "fileop"),
        ("echo done; sleep 1", "other"),
        ("# pytest\nls", "search"),
        ("# ls; pytest", "other"),
        ("", "other"),
        ("&& || ;", "other"),
        ("frobnicate --all", "other"),
    ],
)  # fmt: skip
def test_shell_commands(command: str, category: str) -> None:
    """A command is for what its heaviest part is for, whatever surrounds it."""
    assert categorise("Bash", command) == category


def test_nesting_is_bounded() -> None:
    """A shell in a shell in a shell is followed a few times, not for ever."""
    command = "pytest"
    for _ in range(30):
        command = f"bash -c {command}"
    assert categorise("Bash", command) in CATEGORIES


@given(st.text(alphabet="ab '\"\\;&|()<>\n#=$-pytest", max_size=300))
def test_any_command_has_a_category(command: str) -> None:
    """Broken quotes, redirections and here-documents get an answer."""
    assert categorise("Bash", command) in CATEGORIES


@pytest.mark.parametrize(
    "command", ["'" * 4096, '"\\' * 2048, "<<a\n" * 1024, "a=" * 2048, "(" * 4096, "\\" * 4096]
)
def test_hostile_commands_are_cheap(command: str) -> None:
    """What makes naive splitters backtrack is read in one pass."""
    assert categorise("Bash", command) in CATEGORIES


def test_agreement_with_recorded_agents() -> None:
    """Nineteen of twenty recorded shell calls get the category that they were labelled with.

    Where the recordings are not at hand, the cases above stand alone.
    """
    agreed = total = 0
    for path in sorted(TRACES.glob("*.json.gz")):
        for call in json.loads(gzip.decompress(path.read_bytes()))["tool_calls"]:
            if call["tool"] == "Bash":
                total += 1
                agreed += categorise("Bash", call["command"]) == call["cat"]
    assert agreed >= total * 0.95
