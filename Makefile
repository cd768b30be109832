# Short names for what people do here. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup testnet check test test-all bench explore docs lock clean

PYTHON ?= $(shell for name in python3 python3.12 python3.11 python3.13; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$name"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
DEMO := demo

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv from the lock file (nothing else on this machine is touched)
	@:

$(STAMP): requirements.lock pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" VENV="$(VENV)" .ci/setup
	@touch $@

testnet: setup ## Four validators on this machine, transactions, a proof; they stay up
	@.ci/testnet "$(BIN)" "$(DEMO)"

check: setup ## What to run before each commit: format, lint, types, imports, tidy, unit tests
	@$(BIN)/python .ci/steps.py check

test: setup ## All that a change has to pass: check, real processes, containers
	@$(BIN)/python .ci/steps.py test

test-all: setup ## Everything, with the hours-long tests and coverage
	@$(BIN)/python .ci/steps.py test-all

bench: setup ## Measure this machine: throughput, latency, memory
	@$(BIN)/assay bench node

explore: setup ## Simulate tens of thousands of runs of each protocol; goes on where it stopped
	@.ci/explore "$(BIN)" build/explore

docs: setup ## Write the generated parts of README.md again
	@$(BIN)/python tests/test_readme.py

lock: setup ## Resolve pyproject.toml into the lock files again (all; the image's)
	@$(BIN)/python -m pip install --quiet 'uv>=0.5'
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --extra dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --constraint requirements.lock pyproject.toml -o requirements-run.lock

clean: ## Take the demo down; remove it, .venv and all caches
	@if [ -e $(DEMO)/testnet.json ] && [ -x $(BIN)/assay ]; then \
		$(BIN)/assay testnet down --dir $(DEMO); fi
	rm -rf $(DEMO) $(VENV) build htmlcov .coverage *.egg-info .benchmarks .hypothesis \
		.import_linter_cache .mypy_cache .pytest_cache .ruff_cache
