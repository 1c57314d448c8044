# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. Every target sets up what it needs by itself.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
STAMPS := .cache/stamps
PREFIX ?= /opt/agentcg
# Options for pytest: make unit PYTEST='-k policy -x'
PYTEST ?=
# Kernel of the guest tier: a name of tests/vm/kernels, or all of them
KERNEL ?= all

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

# --- Set-up --------------------------------------------------------------------------------

$(STAMPS)/packages: tests/packages.txt tests/setup
	@tests/setup packages
	@mkdir -p $(@D) && touch $@

$(STAMPS)/venv: pyproject.toml tests/setup | $(STAMPS)/packages
	@tests/setup venv
	@mkdir -p $(@D) && touch $@

.PHONY: setup
setup: $(STAMPS)/packages $(STAMPS)/venv ## Debian packages and .venv

# --- Tests ---------------------------------------------------------------------------------

.PHONY: test
test: lint types unit native guest ## everything below, in this order
	@echo "make test: lint, types, unit, native and guest (kernel: $(KERNEL)) passed"

.PHONY: lint
lint: $(STAMPS)/venv ## style (ruff)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: types
types: $(STAMPS)/venv ## static types (mypy --strict)
	$(BIN)/mypy

.PHONY: unit
unit: $(STAMPS)/venv ## tests of pure logic and of packaging, on any machine
	$(BIN)/pytest tests/unit $(PYTEST)

.PHONY: native
native: $(STAMPS)/venv ## tests with cgroups and BPF on this machine's own kernel, as root
	$(BIN)/pytest tests/native $(PYTEST)

.PHONY: guest-build
guest-build: $(STAMPS)/packages ## the guest's images (kept in the user's cache folder)
	tests/vm/guest build --kernel $(KERNEL)

.PHONY: guest
guest: guest-build $(STAMPS)/venv ## tests under systemd in a virtual machine, on every kernel (KERNEL=6.12: on one)
	$(BIN)/pytest tests/vm/selftest
	tests/vm/guest run --kernel $(KERNEL) -- python3 -m pytest tests/guest $(PYTEST)

# --- Running -------------------------------------------------------------------------------

# make run IN=host|guest chooses the machine, TRACES=DIR plays recorded traces.
.PHONY: run
run: $(STAMPS)/venv ## demonstration: three agents under the daemon's control
	@PYTHONPATH=tests $(BIN)/python -m demo $(if $(IN),--in $(IN)) $(if $(TRACES),--traces $(TRACES))

.PHONY: bench
bench: $(STAMPS)/venv guest-build ## measure; writes .cache/bench/results.{json,md}
	$(BIN)/python tests/bench/run.py

.PHONY: dist
dist: $(STAMPS)/venv ## sdist and wheel in dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist

.PHONY: install
install: dist ## install on this machine: /opt/agentcg, systemd units, group agentcg
	systemd/install --check
	test -x $(PREFIX)/bin/python || /usr/bin/python3 -m venv --system-site-packages $(PREFIX)
	$(PREFIX)/bin/pip install --disable-pip-version-check dist/*.whl
	$(PREFIX)/bin/pip install --disable-pip-version-check --force-reinstall --no-deps dist/*.whl
	ln -sf $(PREFIX)/bin/agentcg $(PREFIX)/bin/agentcgd /usr/local/bin/
	$(PREFIX)/share/agentcg/systemd/install

.PHONY: uninstall
uninstall: ## undo make install; agents go on running unharmed (FORCE=1 while there are any)
	$(PREFIX)/share/agentcg/systemd/uninstall $(if $(FORCE),--force)
	rm -f /usr/local/bin/agentcg /usr/local/bin/agentcgd
	rm -rf $(PREFIX)

.PHONY: clean
clean: ## remove everything that make made in this folder
	rm -rf .venv .cache build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
