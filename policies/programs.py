# SPDX-License-Identifier: Apache-2.0
"""Tools and programs by what they are for: the vocabulary of `categories`."""

from __future__ import annotations

COMMAND = "command"  # a tool that runs a shell command, which then says what it is for


def _table(**groups: str) -> dict[str, str]:
    return {word: group for group, words in groups.items() for word in words.split()}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Tools of agents, in lower case.
TOOLS = _table(
    command="""bash shell sh terminal execute_bash run_command run_in_terminal exec exec_command
        local_shell container.exec cmd run_shell_command execute_command""",
    search="read read_file ls glob grep search list list_dir find view codebase_search open",
    edit="""edit write multiedit notebookedit write_file edit_file str_replace_editor
        str_replace_based_edit_tool apply_patch patch create_file replace insert""",
    web="webfetch websearch web_fetch web_search fetch browser browse web google_search",
    python="python ipython execute_ipython_cell jupyter run_ipython code_interpreter",
    test="run_tests test",
)

# Programs by their base name, a version number taken off ("python3.11" is "python").
PROGRAMS = _table(
    test="""pytest py.test tox nox unittest nosetests nose trial stestr behave robot jest vitest
        mocha ava cypress playwright phpunit rspec ctest bats prove karma gotestsum""",
    install="""pip pipx easy_install conda mamba micromamba virtualenv apt apt-get dnf yum apk
        pacman brew gem bundle bundler composer uvx pyenv nvm rustup""",
    build="""make gmake cmake ninja meson gcc g++ cc c++ clang clang++ ld javac rustc tsc webpack
        vite esbuild rollup bazel buck2 scons autoconf automake configure msbuild swiftc protoc
        cython docker podman buildah""",
    python="python pypy ipython jupyter node deno bun ruby perl php java Rscript julia lua",
    lint="""ruff flake8 pylint mypy pyright black isort bandit eslint prettier stylelint shellcheck
        pre-commit pycodestyle pydocstyle pyflakes autopep8 yapf golangci-lint rubocop clang-tidy
        clang-format cpplint yamllint markdownlint hadolint""",
    git="git hg svn",
    web="curl wget http httpie lynx w3m aria2c gh glab",
    fileop="""rm cp mv mkdir rmdir touch ln chmod chown install rsync tar unzip zip gzip gunzip
        bzip2 xz 7z tee truncate dd mktemp shred""",
    search="""grep egrep fgrep rg ag ack find fd ls tree cat head tail less more wc sort uniq cut
        awk gawk which whereis type file stat du df locate strings diff cmp comm od xxd hexdump
        jq yq readlink realpath dirname basename nl tac pwd env printenv md5sum sha256sum
        zcat zgrep apt-cache dpkg column tr date uname whoami id ps""",
    edit="sed patch ed ex vi vim nano",
)

# What says nothing about a command: it is skipped and the other parts decide.
SILENT = _words(
    """cd pushd popd export set unset source . echo printf true false : sleep wait exit return
    test [ [[ read alias eval trap ulimit umask local declare activate kill fi done esac }
    """
)

# Shell keywords in front of a command.
KEYWORDS = _words("if then elif else do while until ! { time")

# Programs that run another one: options that take a value, and positional words to skip.
WRAPPERS: dict[str, tuple[frozenset[str], int]] = {
    "timeout": (frozenset({"-k", "-s", "--kill-after", "--signal"}), 1),
    "nice": (frozenset({"-n", "--adjustment"}), 0),
    "ionice": (frozenset({"-c", "-n", "--class", "--classdata"}), 0),
    "env": (frozenset({"-u", "-C", "--unset", "--chdir"}), 0),
    "sudo": (frozenset({"-u", "-g", "-C", "-D"}), 0),
    "stdbuf": (frozenset({"-i", "-o", "-e"}), 0),
    "xargs": (frozenset({"-n", "-P", "-I", "-L", "-d", "-s"}), 0),
    "taskset": (frozenset({"-c", "-p"}), 1),
    "chrt": (frozenset(), 1),
    "nohup": (frozenset(), 0),
    "setsid": (frozenset(), 0),
    "exec": (frozenset({"-a"}), 0),
    "command": (frozenset(), 0),
    "builtin": (frozenset(), 0),
    "unbuffer": (frozenset(), 0),
    "strace": (frozenset({"-e", "-o", "-p"}), 0),
    "xvfb-run": (frozenset({"-s", "-n", "-e"}), 0),
    "coverage": (frozenset({"--source", "--rcfile"}), 0),
}

# Shells: `-c` (also in "-lc") is followed by a command of its own.
SHELLS = _words("bash sh zsh dash ash ksh fish")

# Project runners: `uv run pytest` is pytest.
RUNNERS = {
    "uv": frozenset({"run"}),
    "poetry": frozenset({"run"}),
    "pipenv": frozenset({"run"}),
    "pdm": frozenset({"run"}),
    "hatch": frozenset({"run"}),
    "rye": frozenset({"run"}),
    "conda": frozenset({"run"}),
    "bundle": frozenset({"exec"}),
    "npx": frozenset(),
    "coverage": frozenset({"run"}),
}

# `python -m MODULE`.
MODULES = {
    **_table(
        test="pytest unittest tox nox nose nose2 doctest trial",
        install="pip venv virtualenv ensurepip pipx",
        build="build compileall py_compile cython",
        lint="ruff flake8 pylint mypy black isort bandit pycodestyle pyflakes autopep8 yapf",
    ),
}

# Programs whose first argument says what they are for; "" is any other argument.
SUBCOMMANDS: dict[str, dict[str, str]] = {
    "pip": {**_table(python="list show freeze index search check config debug help"),
            "": "install"},
    "conda": {**_table(search="list info search config"), "": "install"},
    "apt": {**_table(search="list show search policy"), "": "install"},
    "npm": {**_table(test="test t", install="install i ci add update"), "": "build"},
    "yarn": {**_table(test="test", install="install add upgrade"), "": "build"},
    "pnpm": {**_table(test="test t", install="install i add update"), "": "build"},
    "bun": {**_table(test="test", install="install add", build="build"), "": "python"},
    "cargo": {**_table(test="test nextest bench", install="install fetch", lint="clippy fmt"),
              "": "build"},
    "go": {**_table(test="test", install="get install mod", lint="vet fmt"), "": "build"},
    "mvn": {**_table(test="test verify", install="install"), "": "build"},
    "gradle": {**_table(test="test check"), "": "build"},
    "gradlew": {**_table(test="test check"), "": "build"},
    "make": {**_table(test="test tests check coverage", install="install", lint="lint format"),
             "": "build"},
    "dotnet": {**_table(test="test", install="restore add"), "": "build"},
    "uv": {"": "install"},
    "poetry": {"": "install"},
    "pipenv": {"": "install"},
    "pdm": {"": "install"},
    "hatch": {**_table(test="test", lint="fmt"), "": "build"},
    "rye": {**_table(test="test", lint="lint fmt"), "": "install"},
    "npx": {"": "build"},
    "coverage": {"": "test"},
    "deno": {**_table(test="test", lint="lint fmt"), "": "python"},
}  # fmt: skip
