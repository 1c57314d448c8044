# SPDX-License-Identifier: Apache-2.0
"""Command lines made fit to be shown and kept: printable, bounded, without secrets.

A secret is recognised by its name (`--password x`, `API_KEY=x`, `"token": "x"`), by its place
(`https://user:x@host`, `Authorization: Bearer x`, `curl -u user:x`) or by its looks (prefixes
that services give their tokens). When in doubt more is hidden than needed: a command line is
there to recognise a call, not to repeat it. What nobody can recognise, such as a bare password
as a positional argument, is not hidden.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

MASK = "***"
CUT = "…"

# One word of a shell or one literal of a language: quoted parts may hold blanks, and an open
# quote reaches to the end.
_VALUE = r"""(?:"(?:\\.|[^"\\])*"?|'[^']*'?|\\.|[^\s"'\\])+"""
_WHOLE_VALUE = re.compile(_VALUE)

_SECRET_NAME = re.compile(
    r"passw|passphrase|passcode|secret|token|credential|apikey|accesskey|privatekey"
    r"|(?:^|_)(?:pass|pwd|pw|key|keys|auth|authorization|cookie|bearer)(?:_|$)"
)
_NOT_SECRET = frozenset({"PWD", "OLDPWD"})
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NAME = r"[A-Za-z0-9_.-]{1,128}"

_ASSIGNMENT = re.compile(rf"""({_NAME})["']?\s*(?::=|={{1,2}}|:)\s*""")
_OPTION = re.compile(rf"(?<![\w-])(--?{_NAME})\s+(?!--[a-z])")
_HEADER = re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(\"?\s*[:=]\s*\"?)[^\"'\n]+")
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,31}://)([^\s/?#:@'\"]*)(?:(:)[^\s'\"]*)?@")
_LOGIN = re.compile(r"""(?<![\w-])(-u|--user|--proxy-user)([\s=]+["']?)([^\s:"']*):""" + _VALUE)
_LOGIN_OPTIONS = frozenset({"-u", "--user", "--proxy-user"})
_PASSWORD_P = re.compile(rf"\b(sshpass\s+-p\s*|(?:mysql|mariadb)\S*\s(?:[^|;&]*?\s)?-p){_VALUE}")
_P_PROGRAMS = ("sshpass", "mysql", "mariadb")  # -pSECRET
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])"
    r"(gh[pousr]_|github_pat_|glpat-|sk-|xox[abeoprs]-|AKIA|ASIA|hf_|npm_|pypi-|AIza|eyJ)"
    r"[A-Za-z0-9_.+/=-]{12,}"
)
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*", re.DOTALL)
_SSH_SCHEMES = frozenset({"ssh://", "git+ssh://", "sftp://"})


def mask_secrets(text: str) -> str:
    """`text` (a command, an argument, a script) with everything that looks secret as "***".

    What most texts do not have, without which a pattern cannot fit, is looked for first.
    """
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub(rf"\1{MASK}", text)
    if ":" in text or "=" in text:
        text = _HEADER.sub(rf"\1\2{MASK}", text)
        text = _USERINFO.sub(_mask_userinfo, text)
        text = _LOGIN.sub(rf"\1\2\3:{MASK}", text)
    if "-p" in text:
        text = _PASSWORD_P.sub(rf"\1{MASK}", text)
    if ":" in text or "=" in text:
        text = _mask_named(_ASSIGNMENT, text)
    if "-" in text:
        text = _mask_named(_OPTION, text)
    return _TOKEN.sub(rf"\1{MASK}", text)


def mask_argv(argv: Sequence[str]) -> list[str]:
    """`argv` with secrets masked, also those that are named by the argument before them."""
    program = PurePosixPath(argv[0]).name if argv else ""
    shown: list[str] = []
    previous = ""
    for argument in argv:
        if argument.startswith("--"):
            shown.append(mask_secrets(argument))
        elif _names_secret(previous) or (program == "sshpass" and previous == "-p"):
            shown.append(MASK)
        elif previous in _LOGIN_OPTIONS and ":" in argument:
            shown.append(f"{argument.partition(':')[0]}:{MASK}")
        elif argument.startswith("-p") and argument != "-p" and program.startswith(_P_PROGRAMS):
            shown.append(f"-p{MASK}")
        else:
            shown.append(mask_secrets(argument))
        previous = argument
    return shown


def escape(text: str) -> str:
    """`text` with every character that is not printable as a backslash escape.

    Control characters, line separators and characters that change the direction of writing
    could otherwise rewrite the terminal or the log line in which the text appears.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def shown_argv(data: bytes, *, cut: bool) -> str:
    """One line for people from the arguments in `data`, which are separated by NUL.

    `cut`: the command line was longer than `data`. Its last word is then left out: of half a
    word nobody can tell whether it is a secret.
    """
    text = data.decode("utf-8", "backslashreplace")
    if cut:
        text = re.sub(r"[^\s\0]*\Z", CUT, text, count=1)
    arguments = text.removesuffix("\0").split("\0")
    return " ".join(_quoted(escape(argument)) for argument in mask_argv(arguments))


def _is_secret_name(name: str) -> bool:
    if name in _NOT_SECRET:
        return False
    parts = _CAMEL.sub("_", name.lstrip("-")).lower()
    return _SECRET_NAME.search(re.sub(r"[.-]", "_", parts)) is not None


def _names_secret(argument: str) -> bool:
    """Whether `argument` is an option whose value, a secret, is the next argument."""
    return argument.startswith("-") and "=" not in argument and _is_secret_name(argument)


def _mask_named(naming: re.Pattern[str], text: str) -> str:
    """`text` with the values masked that follow secret names.

    Only the value of a secret name is skipped: any other may hold the next name, as in
    `url=https://host/?token=x`.
    """
    shown = []
    position = 0
    while match := naming.search(text, position):
        shown.append(text[position : match.end()])
        position = match.end()
        if not _is_secret_name(match[1]):
            continue  # its value may be all the rest, and so may the next one's: not looked at
        if value := _WHOLE_VALUE.match(text, position):
            shown.append(MASK)
            position = value.end()
    return "".join(shown) + text[position:]


def _mask_userinfo(match: re.Match[str]) -> str:
    scheme, user, colon = match.groups()
    if colon:
        return f"{scheme}{user}:{MASK}@"
    return match[0] if scheme.lower() in _SSH_SCHEMES else f"{scheme}{MASK}@"


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _quoted(argument: str) -> str:
    """`argument` in quotes if it holds blanks or nothing, so that arguments stay apart."""
    if argument and " " not in argument:
        return argument
    return f"'{argument}'" if "'" not in argument else f'"{argument}"'
