# SPDX-License-Identifier: Apache-2.0
"""Imports go one way: what is below never knows what is above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import agentcg

SOURCES = Path(agentcg.__file__).parent

# Each part, and the parts that it may import. Longest name wins: `agentcg.daemon.engine` is
# judged by its own line, not by that of `agentcg.daemon`.
BASE = {"agentcg", "agentcg.closing", "agentcg.errors", "agentcg.naming", "agentcg.units"}
LEAVES = {"agentcg.cgroups", "agentcg.bpf", "agentcg.policies"}
WORDS = BASE | {"agentcg.daemon", "agentcg.daemon.messages"}
ALLOWED: dict[str, set[str]] = {
    "agentcg": BASE,
    "agentcg.closing": {"agentcg"},
    "agentcg.errors": {"agentcg"},
    "agentcg.units": BASE,
    "agentcg.naming": BASE,
    # For agents: nothing but the standard library (test_client_imports.py).
    "agentcg.client": BASE,
    "agentcg.native": BASE,
    "agentcg.serving": BASE,
    "agentcg.mcp": BASE | {"agentcg.client"},
    "agentcg.integrations": BASE | {"agentcg.client"},
    "agentcg.cgroups": BASE,
    "agentcg.bpf": BASE,
    "agentcg.policies": BASE,
    "agentcg.daemon": BASE,
    "agentcg.daemon.messages": BASE,
    "agentcg.daemon.engine": WORDS | {"agentcg.policies"},
    "agentcg.daemon.history": WORDS,
    "agentcg.daemon.hooks": WORDS,
    "agentcg.daemon.service": WORDS
    | LEAVES
    | {"agentcg.daemon.engine", "agentcg.daemon.history", "agentcg.daemon.hooks"},
    "agentcg.daemon.api": WORDS | LEAVES | {"agentcg.daemon.service"},
    "agentcg.daemon.options": WORDS
    | {"agentcg.bpf", "agentcg.daemon.history", "agentcg.daemon.service"},
    "agentcg.daemon.main": WORDS
    | LEAVES
    | {
        "agentcg.daemon.api",
        "agentcg.daemon.history",
        "agentcg.daemon.options",
        "agentcg.daemon.service",
    },
    "agentcg.daemon.entry": BASE | {"agentcg.daemon.main", "agentcg.daemon.service"},
    # These reach the daemon by its socket only.
    "agentcg.daemon.client": WORDS | {"agentcg.cgroups", "agentcg.client"},
    "agentcg.daemon.trial": WORDS | {"agentcg.policies", "agentcg.daemon.engine"},
    "agentcg.daemon.cli": WORDS
    | LEAVES
    | {
        "agentcg.daemon.bench",
        "agentcg.client",
        "agentcg.native",
        "agentcg.mcp",
        "agentcg.serving",
        "agentcg.daemon.hooks",
        "agentcg.daemon.policybench",
        "agentcg.daemon.client",
        "agentcg.daemon.report",
        "agentcg.daemon.replay",
        "agentcg.daemon.simulate",
        "agentcg.daemon.trial",
    },
    "agentcg.daemon.report": WORDS | {"agentcg.daemon.client", "agentcg.daemon.replay"},
    "agentcg.daemon.bench": WORDS | {"agentcg.bpf", "agentcg.cgroups"},
    "agentcg.daemon.replay": WORDS | {"agentcg.cgroups", "agentcg.daemon.client"},
    "agentcg.daemon.policybench": WORDS
    | {
        "agentcg.cgroups",
        "agentcg.daemon.client",
        "agentcg.daemon.replay",
        "agentcg.daemon.simulate",
    },
    # Decides as the daemon does, of what replay would play; touches neither.
    "agentcg.daemon.simulate": WORDS
    | {"agentcg.policies", "agentcg.daemon.engine", "agentcg.daemon.replay"},
}

# The rooms of the service, and the rooms that each may import. What lies beside them is shared.
SERVICE = "agentcg.daemon.service"
BELOW = {"host", "accounts"}
ROOMS: dict[str, set[str]] = {
    "accounts": set(),
    "host": {"accounts"},
    "intents": BELOW,
    "enforce": BELOW,
    "scheduler": BELOW,
    "calls": BELOW | {"intents", "enforce"},
    "detection": BELOW | {"intents", "calls"},
}

# Third-party packages that belong to one layer. What is not listed may be used anywhere.
HOMES = {
    "aiohttp": {"agentcg.daemon.api", "agentcg.daemon.main"},
    "bcc": {"agentcg.bpf"},
    "sqlite3": {"agentcg.daemon.history"},
    "yaml": {"agentcg.policies"},
    "typer": {
        "agentcg.daemon.policybench",
        "agentcg.daemon.cli",
        "agentcg.daemon.replay",
        "agentcg.daemon.simulate",
    },
    "rich": {
        "agentcg.daemon.policybench",
        "agentcg.daemon.cli",
        "agentcg.daemon.replay",
        "agentcg.daemon.simulate",
    },
}


def part_of(module: str) -> str | None:
    """The line of ALLOWED that `module` belongs to; None outside agentcg."""
    while module and module not in ALLOWED:
        module = module.rpartition(".")[0]
    return module or None


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the project by its dotted name."""
    for folder in (SOURCES, *(entry for entry in SOURCES.iterdir() if entry.is_dir())):
        found = folder.glob("*.py") if folder == SOURCES else folder.rglob("*.py")
        for path in sorted(found):
            dotted = ".".join(("agentcg", *path.relative_to(SOURCES).with_suffix("").parts))
            yield dotted.removesuffix(".__init__"), path


def imports(module: str, path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that a module imports, lazily or not."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            # `from agentcg import errors` imports a module, `from agentcg.units import x` a name.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def test_there_is_something_to_check() -> None:
    """The walk follows the links to the four folders."""
    names = {name for name, _ in modules()}
    assert {"agentcg.errors", "agentcg.daemon.messages", "agentcg.cgroups"} <= names


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=str)
def test_imports_point_downwards(module: str, path: Path) -> None:
    """No module imports a part that its own part may not know."""
    own = part_of(module)
    assert own is not None
    wrong = []
    for line, name in imports(module, path):
        target = part_of(name)
        if target is not None and target != own and target not in ALLOWED[own]:
            wrong.append(f"{path}:{line}: {own} must not import {target}")
        home = HOMES.get(name.partition(".")[0])
        if home is not None and own not in home:
            wrong.append(f"{path}:{line}: {name.partition('.')[0]} belongs to {sorted(home)}")
    assert not wrong, "\n".join(wrong)


def room_of(module: str) -> str | None:
    """The room of the service that `module` lies in."""
    inside = module.removeprefix(f"{SERVICE}.").partition(".")[0]
    return inside if module.startswith(f"{SERVICE}.") and inside in ROOMS else None


def test_every_folder_of_the_service_is_a_room_with_a_rule() -> None:
    """A new folder needs a line of its own."""
    folders = {path.parent.name for path in (SOURCES / "daemon/service").glob("*/__init__.py")}
    assert folders == set(ROOMS)


@pytest.mark.parametrize(("module", "path"), [(m, p) for m, p in modules() if room_of(m)], ids=str)
def test_rooms_of_the_service_know_each_other_in_one_direction(module: str, path: Path) -> None:
    """A room imports only those below it."""
    own = str(room_of(module))
    others = {room_of(name) for _, name in imports(module, path)} - {own, None}
    assert others <= ROOMS[own]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from agentcg import bpf", "agentcg.bpf.compile"),
        ("from .. import bpf", "agentcg.bpf"),
        ("def late():\n    import agentcg.bpf", "agentcg.bpf"),
    ],
)
def test_every_form_of_import_is_seen(tmp_path: Path, source: str, found: str) -> None:
    """Relative and late imports count like any other."""
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")
    assert part_of(found) in {part_of(n) for _, n in imports("agentcg.cgroups.module", path)}
