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
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 20

# --- Set-up --------------------------------------------------------------------------------

$(STAMPS)/packages: tests/packages.txt tests/setup
	@tests/setup packages packages
	@mkdir -p $(@D) && touch $@

$(STAMPS)/packages-clients: tests/packages-clients.txt tests/setup | $(STAMPS)/packages
	@tests/setup packages packages-clients
	@mkdir -p $(@D) && touch $@

$(STAMPS)/venv: pyproject.toml tests/setup | $(STAMPS)/packages
	@tests/setup venv
	@mkdir -p $(@D) && touch $@

.PHONY: setup
setup: $(STAMPS)/packages $(STAMPS)/venv ## Debian packages and .venv

.PHONY: objects
objects: $(STAMPS)/venv ## BPF objects in bpf/, where they are older than their sources
	@$(BIN)/python bpf/objects.py

# --- Tests ---------------------------------------------------------------------------------

.PHONY: test
test: lint types unit native browser clients guest ## everything below, in this order
	@echo "make test: lint, types, unit, native, browser, clients and guest (kernel: $(KERNEL)) passed"

.PHONY: lint
lint: $(STAMPS)/venv ## style (ruff)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: types
types: $(STAMPS)/venv ## static types (mypy --strict)
	$(BIN)/mypy

.PHONY: unit
unit: objects ## tests of pure logic and of packaging, on any machine
	$(BIN)/pytest tests/unit $(PYTEST)

.PHONY: native
native: objects ## tests with cgroups and BPF on this machine's own kernel, as root
	$(BIN)/pytest tests/native $(PYTEST)

.PHONY: clients
clients: $(STAMPS)/venv $(STAMPS)/packages-clients ## two real clients (npm, PyPI) against a scripted model, as root
	$(BIN)/pytest tests/clients/test_short.py tests/clients/test_hooks.py \
		tests/clients/test_shell.py tests/clients/test_mcp.py $(PYTEST)

.PHONY: test-clients
test-clients: test-clients-guest $(STAMPS)/packages-clients ## all real clients; the table of docs/clients.md
	$(BIN)/pytest tests/clients/test_all.py tests/clients/test_integrations.py \
		tests/clients/test_more_hooks.py $(PYTEST)
	@cat .cache/clients/table.md

.PHONY: test-clients-guest
test-clients-guest: guest-build $(STAMPS)/venv ## three real clients on the service in a virtual machine
	cd tests && ../$(BIN)/python -m clients.guest.programs ../.cache/clients/guest
	tests/vm/guest run --kernel $(KERNEL:all=stable) --push .cache/clients/guest:/opt/clients -- \
		python3 -m pytest tests/clients/guest $(PYTEST)

.PHONY: clients-latest
clients-latest: $(STAMPS)/venv $(STAMPS)/packages-clients ## the same with their newest versions
	AGENTCG_CLIENTS_LATEST=1 $(BIN)/pytest tests/clients/test_all.py $(PYTEST)
	@cat .cache/clients/table.md

.PHONY: guest-build
guest-build: $(STAMPS)/packages ## the guest's images (kept in the user's cache folder)
	tests/vm/guest build --kernel $(KERNEL)

# With DEAL= all of them run on every kernel, also those for which it makes no difference.
DEAL ?= --deal

# Two emulated machines on two cores stand still at times: a test that fails is told about, with
# all that it said, and has one more try. RERUNS=0: none.
RERUNS ?= 1

.PHONY: guest
guest: guest-build dist ## tests under systemd in virtual machines, on every kernel (KERNEL=stable: on one)
	$(BIN)/pytest tests/vm/selftest
	tests/vm/guest run --kernel $(KERNEL) --together --push dist:/srv/agentcg/dist \
		--push Makefile:/srv/agentcg -- python3 -m pytest tests/guest $(DEAL) \
		--reruns $(RERUNS) $(PYTEST)

# Storms of so many seconds: three of them, and some time around each.
STRESS_SECONDS ?= 200

.PHONY: test-stress
test-stress: guest-build ## ten minutes of storms under the scheduler with memory delay, in the guest
	tests/vm/guest run --kernel $(if $(filter all,$(KERNEL)),backports,$(KERNEL)) \
		-e AGENTCG_STRESS_SECONDS=$(STRESS_SECONDS) -- \
		python3 -m pytest -s tests/guest/test_stress.py tests/guest/test_stress_daemon.py \
		--durations=3 $(PYTEST)

.PHONY: browser
browser: $(STAMPS)/venv $(STAMPS)/packages-clients ## the page of agentcg report in headless Chromium
	$(BIN)/pytest tests/browser $(PYTEST)

# --- Running -------------------------------------------------------------------------------

# make run IN=host|guest chooses the machine, TRACES=DIR plays recorded traces.
.PHONY: run
run: $(STAMPS)/venv ## demonstration: three agents under the daemon's control
	@PYTHONPATH=tests $(BIN)/python -m demo $(if $(IN),--in $(IN)) $(if $(TRACES),--traces $(TRACES))

.PHONY: bench
bench: $(STAMPS)/venv guest-build ## measure; writes .cache/bench/results.{json,md}
	$(BIN)/python tests/bench/run.py

# TRACES=DIR plays recorded traces; MINUTES of measuring, gone on with by the next call.
.PHONY: bench-policy
bench-policy: $(STAMPS)/venv guest-build ## measure what the policies are worth, in the guest
	$(BIN)/python tests/bench/policy.py $(if $(TRACES),--traces $(TRACES)) --minutes $(or $(MINUTES),45)

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
	$(PREFIX)/bin/python -m agentcg.native || echo "without the compiled hook: agentcg hook does the same"
	ln -sf $(PREFIX)/bin/agentcg $(PREFIX)/bin/agentcgd /usr/local/bin/
	$(PREFIX)/share/agentcg/systemd/install

.PHONY: uninstall
uninstall: ## undo make install; agents go on running unharmed (FORCE=1 while there are any)
	$(PREFIX)/share/agentcg/systemd/uninstall $(if $(FORCE),--force)
	rm -f /usr/local/bin/agentcg /usr/local/bin/agentcgd
	rm -rf $(PREFIX)

.PHONY: clean
clean: ## remove everything that make made in this folder
	rm -rf .venv .cache build dist src/*.egg-info bpf/*.bpf.o .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
