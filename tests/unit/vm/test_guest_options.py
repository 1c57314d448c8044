# SPDX-License-Identifier: Apache-2.0
"""The guest's command line and its list of kernels."""

import argparse
from pathlib import Path

import pytest
from guestvm.errors import UsageError
from guestvm.kernels import Kernel, choose_kernels, load_kernels, parse_kernels
from guestvm.options import (
    build_parser,
    parse_cpus,
    parse_env,
    parse_fetch,
    parse_push,
    parse_size,
    parse_timeout,
)

TWO = """\
# a comment
new  trixie-backports  linux-image-cloud-amd64  max
old  trixie            linux-image-cloud-amd64  max,-cx16  # another
"""


def test_a_list_is_a_table_of_four_columns() -> None:
    """Lines are kernels in order; comments and empty lines do not count."""
    assert parse_kernels(TWO) == [
        Kernel("new", "trixie-backports", "linux-image-cloud-amd64", "max"),
        Kernel("old", "trixie", "linux-image-cloud-amd64", "max,-cx16"),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "lists no kernel"),
        ("new trixie linux-image", ":1: not four words"),
        ("new trixie linux-image max more", ":1: not four words"),
        ("new trixie $(reboot) max", ":1: not four words"),
        ("a t p max\na t p max", ":2: 'a' is taken"),
        ("all t p max", "'all' is taken"),
    ],
)
def test_a_bad_list_is_refused(text: str, reason: str) -> None:
    """The error names the line; nothing that a shell could take for its own gets through."""
    with pytest.raises(UsageError, match=reason.replace("$", r"\$").replace("(", r"\(")):
        parse_kernels(text)


def test_the_projects_list_has_the_kernels_that_are_promised() -> None:
    """Debian's newest is the default, the one of its stable release is there."""
    assert [kernel.name for kernel in load_kernels()][:2] == ["backports", "stable"]


def test_kernels_are_chosen_by_name() -> None:
    """No name is the default, "all" is every one, an unknown name is an error with the names."""
    kernels = parse_kernels(TWO)
    assert choose_kernels(kernels, None) == kernels[:1]
    assert choose_kernels(kernels, "old") == kernels[1:]
    assert choose_kernels(kernels, "all") == kernels
    with pytest.raises(UsageError, match=r"no kernel '5.4'; there are new, old, and all"):
        choose_kernels(kernels, "5.4")


def test_a_path_is_a_kernel_of_ones_own(tmp_path: Path) -> None:
    """What is in no list can be booted, if it is there."""
    image = tmp_path / "bzImage"
    with pytest.raises(UsageError, match="there is no kernel"):
        choose_kernels(parse_kernels(TWO), str(image))
    image.touch()
    (kernel,) = choose_kernels(parse_kernels(TWO), str(image))
    assert (kernel.name, kernel.image, kernel.cpu) == ("bzImage", image, "max")


def test_run_takes_its_options_before_the_command() -> None:
    """What comes after -- is the command's, even if it looks like an option."""
    line = "run --kernel stable --push / --push /:/b --timeout 1.5 --memory 2G -- ls --cpus 9"
    arguments = build_parser().parse_args(line.split())
    assert arguments.command == ["ls", "--cpus", "9"]
    assert arguments.kernel == "stable"
    assert arguments.push == [(Path("/"), "/srv/"), (Path("/"), "/b")]
    assert arguments.timeout == 1.5
    assert arguments.memory == 2 << 30
    assert arguments.cpus is None
    assert arguments.install


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_size, "1.5G"),
        (parse_size, "-3G"),
        (parse_size, "10M"),
        (parse_size, "999999G"),
        (parse_size, "3"),
        (parse_cpus, "0"),
        (parse_cpus, "65"),
        (parse_cpus, "two"),
        (parse_timeout, "0"),
        (parse_timeout, "-1"),
        (parse_timeout, "nan"),
        (parse_timeout, "inf"),
        (parse_timeout, "soon"),
        (parse_env, "=x"),
    ],
)
def test_bad_values_are_refused(parse: object, text: str) -> None:
    """Each value has its bounds; argparse turns the error into status 2."""
    assert callable(parse)
    with pytest.raises(argparse.ArgumentTypeError):
        parse(text)


def test_sizes_are_binary() -> None:
    """M and G are powers of 1024, in either case."""
    assert parse_size("512M") == parse_size("512m") == 1 << 29
    assert parse_size("3G") == parse_size("3GiB") == 3 << 30


def test_environment_is_given_or_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """NAME=VALUE sets, NAME passes our own value on, an empty value is one."""
    monkeypatch.setenv("HERE", "x")
    assert parse_env("A=b=c") == ("A", "b=c")
    assert parse_env("A=") == ("A", "")
    assert parse_env("HERE") == ("HERE", "x")


def test_push_goes_to_srv_by_default(tmp_path: Path) -> None:
    """The last part of the source's real path names the directory."""
    (tmp_path / "traces").mkdir()
    assert parse_push(f"{tmp_path}/traces/.") == (tmp_path / "traces", "/srv/traces")
    assert parse_push(f"{tmp_path}:/b/c") == (tmp_path, "/b/c")
    for bad in (f"{tmp_path}:relative", ":/b", "", f"{tmp_path}/missing"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse_push(bad)


def test_fetch_needs_both_ends() -> None:
    """An absolute path in the guest and a directory of the host."""
    assert parse_fetch("/tmp/out.json:results") == ("/tmp/out.json", Path("results"))
    for bad in ("out:results", "/tmp/out", "/tmp/out:"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse_fetch(bad)
