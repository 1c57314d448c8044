# SPDX-License-Identifier: Apache-2.0
"""What a tool call is for, worked out from the tool's name and its command.

A shell command is read as the shell would split it: `cd x && timeout 60 python -m pytest |
tail` is a list of simple commands, each known by its first word once `cd`, assignments and
wrappers are taken off. The whole call is what its heaviest part is: a test run that also
greps is a test run. Nothing is executed or looked up; unknown words are `other`. Linear in
the command's length, of which the first 4,096 characters count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, cast, get_args

from agentcg.policies.programs import (
    COMMAND,
    KEYWORDS,
    MODULES,
    PROGRAMS,
    RUNNERS,
    SHELLS,
    SILENT,
    SUBCOMMANDS,
    TOOLS,
    WRAPPERS,
)

Category = Literal[
    "test", "install", "build", "python", "git", "search", "edit", "lint", "fileop", "web", "other"
]
CATEGORIES: tuple[Category, ...] = get_args(Category)

COMMAND_MAX_CHARS = 4096
NESTING_MAX = 3  # bash -c "bash -c '...'"

# Heaviest first: the need of a call is that of its heaviest part.
_HEAVIEST = (
    "test", "install", "build", "python", "lint", "git", "web", "fileop", "edit", "search", "other",
)  # fmt: skip
_RANK = {name: rank for rank, name in enumerate(_HEAVIEST)}

# Possessive, with alternatives that begin with different characters: no backtracking.
_TOKENS = re.compile(
    r"""(?P<end>[;&|\n()]+)
      | (?P<redirect>\d*(?:<<?<?|>>?)[&|]?\d*)
      | (?P<word>(?:[^\s;&|()<>'"\\]|\\.|\\\Z|'[^']*(?:'|\Z)|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))++)""",
    re.VERBOSE | re.DOTALL,
)
_HEREDOC = re.compile(
    r"<<-?[ \t]*(['\"]?)(\w{1,64})\1([^\n]*)\n(?:.*?\n)??[ \t]*\2[ \t]*(?=\n|\Z)", re.DOTALL
)
_HEREDOC_CUT = re.compile(r"<<-?[ \t]*['\"]?\w{1,64}['\"]?([^\n]*)\n.*", re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_VERSION = re.compile(r"[\d.]+$")
_SHELL_COMMAND = re.compile(r"-[a-z]*c")


@lru_cache(maxsize=256)  # a begin asks more than once, and agents repeat themselves
def categorise(tool: str, command: str | None) -> Category:
    """What a call of `tool` with `command` is for; `other` where nothing tells.

    `tool` is compared without regard to case. `command` is what a shell tool runs; what
    other tools work on (a path, a pattern) does not matter.
    """
    kind = TOOLS.get(tool.lower(), COMMAND)
    if command and (kind == COMMAND or _is_program(tool, command)):
        return cast(Category, _shell(command[:COMMAND_MAX_CHARS], 0))
    return cast(Category, "other" if kind == COMMAND else kind)


def _is_program(tool: str, command: str) -> bool:
    """Whether the tool is named after the program that the command begins with."""
    first = command[:COMMAND_MAX_CHARS].split(maxsplit=1)[:1]
    return bool(first) and _base_name(first[0]) == _base_name(tool.lower())


def _shell(command: str, nesting: int) -> str:
    found = [_simple(words, writes, nesting) for words, writes in _split(command)]
    known = [category for category in found if category is not None]
    return min(known, key=_RANK.__getitem__, default="other")


def _split(command: str) -> Iterator[tuple[list[str], bool]]:
    """Simple commands of `command`: their words, and whether they write to a file."""
    text = _HEREDOC_CUT.sub(r"\1\n", _HEREDOC.sub(r"\3\n", command))
    words: list[str] = []
    writes = target = comment = False
    for token in _TOKENS.finditer(text):
        shown = token[0]
        if token.lastgroup == "end":
            if comment and "\n" not in shown:
                continue
            if words:
                yield words, writes
            words, writes, target, comment = [], False, False, False
        elif comment:
            continue
        elif token.lastgroup == "redirect":
            target = not shown[-1].isdigit()  # "2>&1" names no file, "> x" does
            writes = writes or shown in (">", ">>")
        elif target:
            target = False
            writes = writes and shown != "/dev/null"
        elif shown.startswith("#"):
            comment = True
        else:
            words.append(shown)
    if words:
        yield words, writes


def _simple(words: list[str], writes: bool, nesting: int) -> str | None:
    """Category of one simple command; None where it says nothing about the whole."""
    words = _unwrap(words)
    if not words:
        return None
    program, arguments = _base_name(words[0]), words[1:]
    if program in SILENT:
        return None
    if program in SHELLS:
        return _of_shell(arguments, nesting)
    return _of_program(program, arguments, writes)


def _of_program(program: str, arguments: list[str], writes: bool) -> str:
    if program in ("python", "pypy"):
        return _of_python(arguments)
    if program in SUBCOMMANDS:
        return _of_subcommand(program, arguments)
    if program == "cat" and writes:
        return "fileop"  # cat > file << EOF
    if program == "sed" and "-n" in arguments:
        return "search"  # sed -n 10,20p
    return PROGRAMS.get(program) or _of_name(program)


def _unwrap(words: list[str]) -> list[str]:
    """`words` without keywords, assignments, wrappers and project runners in front."""
    while words:
        first = _base_name(words[0])
        if words[0] in KEYWORDS or _ASSIGNMENT.match(words[0]):
            words = words[1:]
        elif first in RUNNERS and _runs(first, words):
            words = _skip_options(words[2 if RUNNERS[first] else 1 :], frozenset())
        elif first in WRAPPERS and first not in RUNNERS:
            with_value, positional = WRAPPERS[first]
            words = _skip_options(words[1:], with_value)[positional:]
        else:
            return words
    return words


def _runs(program: str, words: list[str]) -> bool:
    verbs = RUNNERS[program]
    return not verbs or (len(words) > 1 and words[1] in verbs)


def _skip_options(words: list[str], with_value: frozenset[str]) -> list[str]:
    index = 0
    while index < len(words) and words[index].startswith("-"):
        index += 2 if words[index] in with_value else 1
    return words[index:]


def _of_shell(arguments: list[str], nesting: int) -> str | None:
    """`bash -lc 'command'`, or `bash script`."""
    for index, argument in enumerate(arguments):
        if _SHELL_COMMAND.fullmatch(argument) and index + 1 < len(arguments):
            inner = _unquote(arguments[index + 1])
            return _shell(inner, nesting + 1) if nesting < NESTING_MAX else "other"
        if not argument.startswith("-"):
            return _of_name(_base_name(argument))
    return "other"


def _of_python(arguments: list[str]) -> str:
    for index, argument in enumerate(arguments):
        if argument == "-m" and index + 1 < len(arguments):
            module = arguments[index + 1].split(".")[0]
            if module in SUBCOMMANDS:
                return _of_subcommand(module, arguments[index + 2 :])
            return MODULES.get(module, "python")
        if argument.startswith("-c") or argument == "-":
            return "python"
        if not argument.startswith("-"):
            return _of_script(_base_name(argument), arguments[index + 1 :])
    return "python"


def _of_script(script: str, arguments: list[str]) -> str:
    """`python setup.py build_ext`, `python manage.py test`, `python runtests.py`."""
    verb = next((word for word in arguments if not word.startswith("-")), "")
    if script == "setup.py":
        if verb in ("test", "install", "develop"):
            return "test" if verb == "test" else "install"
        return "build" if verb.startswith(("build", "bdist", "sdist")) else "python"
    if script == "manage.py" and verb == "test":
        return "test"
    return "test" if script in ("runtests.py", "run_tests.py") else "python"


def _of_subcommand(program: str, arguments: list[str]) -> str:
    table = SUBCOMMANDS[program]
    verbs = [word for word in arguments if not word.startswith("-")]
    if verbs[:1] == ["run"] and program in ("npm", "yarn", "pnpm"):
        verbs = verbs[1:]
    verb = verbs[0].split(":")[0] if verbs else ""
    return table.get(verb, table[""])


def _of_name(name: str) -> str:
    """A project's own script, by its name: run_tests.sh, build.sh, install_deps.sh."""
    stem = name.lower().rsplit(".", 1)[0]
    for word in ("test", "install", "build", "lint"):
        if word in re.split(r"[-_]", stem) or f"{word}s" in re.split(r"[-_]", stem):
            return word
    return "other"


def _base_name(word: str) -> str:
    """Program name of `word`: quotes, folders and a version number taken off."""
    name = _unquote(word).rsplit("/", 1)[-1]
    return _VERSION.sub("", name) or name


def _unquote(word: str) -> str:
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        word = word[1:-1]
    return word
