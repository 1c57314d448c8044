# SPDX-License-Identifier: Apache-2.0
"""Command lines are shown without secrets, printable, on one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.bpf import masking
from agentcg.bpf.masking import escape, mask_argv, mask_secrets, shown_argv

PASSWORDS = st.text(
    "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789!$%*+_.~^", min_size=8, max_size=40
).filter(lambda text: not text.startswith("-"))

TOKENS = st.builds(
    lambda prefix, body: prefix + body,
    st.sampled_from(["ghp_", "github_pat_", "glpat-", "sk-", "xoxb-", "hf_", "npm_", "AKIA"]),
    st.text(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=16, max_size=40
    ),
)

# How a secret reaches a command line; {} is the secret.
WAYS = [
    ["tool", "--password", "{}"],
    ["tool", "--password={}"],
    ["tool", "--db-password", "{}", "rest"],
    ["tool", "-password", "{}"],
    ["tool", "--apiKey={}"],
    ["env", "API_KEY={}", "make"],
    ["env", "AWS_SECRET_ACCESS_KEY={}", "make"],
    ["env", "PGPASSWORD={}", "psql"],
    ["git", "clone", "https://joe:{}@example.com/x.git"],
    ["git", "clone", "https://{}@example.com/x.git"],
    ["psql", "postgresql://app:{}@db:5432/app"],
    ["curl", "-H", "Authorization: Bearer {}", "https://example.com"],
    ["curl", "-H", "authorization: token {}", "https://example.com"],
    ["curl", "-H", "X-Api-Key: {}", "https://example.com"],
    ["curl", "-b", "Cookie: a=b; session={}"],
    ["curl", "-u", "joe:{}", "https://example.com"],
    ["curl", "--user", "joe:{}", "https://example.com"],
    ["curl", "https://example.com/?page=1&access_token={}&x=1"],
    ["fetch", "url=https://example.com/?token={}"],
    ["sh", "-c", "x='--password {}'"],
    ["curl", "-d", '{{"user": "joe", "password": "{}"}}'],
    ["sshpass", "-p", "{}", "ssh", "host"],
    ["sshpass", "-p{}", "ssh", "host"],
    ["/usr/bin/mysql", "-uroot", "-p{}", "app"],
    ["sh", "-c", "export TOKEN={}; make deploy"],
    ["sh", "-c", "export TOKEN='{}'; make deploy"],
    ["sh", "-c", 'TOKEN="{}" make deploy'],
    ["sh", "-c", "tool --password '{}' --verbose"],
    ["sh", "-c", "tool --password\t{}"],
    ["sh", "-c", "curl -u joe:{} https://example.com | jq ."],
    ["sh", "-c", "sshpass -p {} ssh host"],
    ["sh", "-c", "mysql -u root -p{} app"],
    ["sh", "-c", "curl -H 'Authorization: Bearer {}' https://example.com"],
    ["python3", "-c", "client.login(password = '{}')"],
]


def _raw(argv: list[str]) -> bytes:
    return b"".join(argument.encode() + b"\0" for argument in argv)


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
@given(secret=PASSWORDS)
def test_named_and_placed_secrets_are_hidden(way: list[str], secret: str) -> None:
    """Wherever the name or the place says that it is a secret, the secret is not shown."""
    argv = [argument.format(secret) for argument in way]
    line = shown_argv(_raw(argv), cut=False)

    assert secret not in line
    assert "***" in line
    assert line.startswith(way[0])


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
@given(secret=PASSWORDS, kept=st.integers(1, 120))
def test_cutting_shows_no_part_of_a_secret(way: list[str], secret: str, kept: int) -> None:
    """Wherever a command line is cut, not even the beginning of its secret is shown."""
    raw = _raw([argument.format(secret) for argument in way])
    line = shown_argv(raw[:kept], cut=kept < len(raw))

    plain = shown_argv(_raw([argument.format("") for argument in way]), cut=False)
    assert secret[:4] not in line or secret[:4] in plain


@given(token=TOKENS, before=st.sampled_from(["", "push ", "x=", "'", "(", "https://h/"]))
def test_well_known_tokens_are_hidden_anywhere(token: str, before: str) -> None:
    """Tokens with the prefix of their service are hidden without any name beside them."""
    assert token not in mask_secrets(f"{before}{token} rest")


@given(st.text(max_size=300))
def test_masking_takes_any_text(text: str) -> None:
    """Any text can be masked, and masking makes it no longer than its marks."""
    masked = mask_secrets(text)
    assert len(masked) <= len(text) + 3 * masked.count("***")


@given(st.text("abcdefghij klm./", max_size=300))
def test_words_without_a_mark_are_untouched(text: str) -> None:
    """Where nothing assigns, names an option or looks like a token, nothing is changed."""
    assert mask_secrets(text) == text


@given(st.binary(max_size=256), st.booleans())
def test_any_bytes_become_one_printable_line(data: bytes, cut: bool) -> None:
    """Whatever a process puts into its arguments, what is shown is printable."""
    assert shown_argv(data, cut=cut).isprintable()


@pytest.mark.parametrize(
    "command",
    [
        "git commit -m 'make the parser faster'",
        "pytest -x tests/unit -k 'not slow' --maxfail=3",
        "python3 -m pip install requests==2.31 'urllib3<3'",
        "ssh://git@example.com/x.git",
        "PWD=/home/joe make -j4 CC=clang",
        "curl https://example.com:8080/a/b?page=2",
        "docker run -u 1000 image",
        "rg --files --glob '*.py'",
        "npm install @types/node@20",
        "find . -name '*.key-*.txt' -newer x",
    ],
)
def test_ordinary_commands_are_left_alone(command: str) -> None:
    """What is no secret stays readable."""
    assert mask_secrets(command) == command


def test_secret_with_blanks_is_hidden_whole() -> None:
    """A quoted secret, or one that is an argument of its own, may hold blanks."""
    assert mask_secrets("x --password 'one two' y") == "x --password *** y"
    assert mask_argv(["x", "--password", "one two", "y"]) == ["x", "--password", "***", "y"]


def test_options_do_not_hide_the_next_option() -> None:
    """An option that sounds secret but has no value leaves the following one visible."""
    assert mask_argv(["login", "--password-stdin", "--verbose"])[2] == "--verbose"


def test_private_key_is_hidden_to_its_end() -> None:
    """Of a private key only the first line is left."""
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"
    assert mask_secrets(key) == "-----BEGIN RSA PRIVATE KEY-----***"


def test_escapes_name_the_character() -> None:
    """Control characters, separators and changes of direction are shown by their code."""
    assert escape("a\x1b[2J\u2028\u202eb\U000e0001") == "a\\x1b[2J\\u2028\\u202eb\\U000e0001"


def test_bytes_that_are_not_utf8_are_shown_as_bytes() -> None:
    """Whether they come from the kernel or as Python keeps them."""
    raw = b"tool\0\xff\xc3\xbc"
    assert escape(raw.decode("utf-8", "surrogateescape")) == "tool\\x00\\xff\u00fc"
    assert shown_argv(raw, cut=False) == "tool \\xff\u00fc"


def test_cut_line_ends_at_a_whole_word() -> None:
    """Of a line that was cut the last word is left out and replaced by an ellipsis."""
    assert shown_argv(b"tool\0one\0tw", cut=True) == "tool one …"
    assert shown_argv(b"tool\0one two\0", cut=True) == "tool 'one two' …"
    assert shown_argv(b"toooooooool", cut=True) == "…"


def test_arguments_stay_apart() -> None:
    """Arguments with blanks are quoted, empty ones are visible."""
    assert shown_argv(b"a\0b c\0\0it's d\0", cut=False) == "a 'b c' '' \"it's d\""


def test_values_of_other_names_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may be all the rest: a line of names would take time that grows with its square."""

    class Seen:
        pattern = masking._WHOLE_VALUE
        count = 0

        def match(self, text: str, position: int) -> object:
            self.count += 1
            return self.pattern.match(text, position)

    seen = Seen()
    monkeypatch.setattr(masking, "_WHOLE_VALUE", seen)
    assert mask_secrets("x:" * 2000 + "token:hunter2") == "x:" * 2000 + "token:***"
    assert seen.count == 1
