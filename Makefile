# One word per intent. Each sets up what it needs in .venv, from the lock files, by hash.
#   make demo | test | test-all | check | format | lock | clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
WORKERS ?= 2
# A file's tests stay together: they share what its fixtures made.
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

# Nipype's telemetry is off, figures need no screen, nothing outside asks for input.
export NO_ET := 1
export NIPYPE_NO_ET := 1
export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test test-all test-slow check format lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

install: $(VENV)/.installed ## petbind in .venv, ready to run

install-dev: $(VENV)/.installed-dev ## the same with the tools that check and test

demo: $(VENV)/.installed ## a small simulated trial, from images to group statistics
	$(BIN)/petbind demo $(DEMO)

test: $(VENV)/.installed-dev ## every test but the slow ones
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.installed-dev ## every test
	$(PYTEST)

test-slow: $(VENV)/.installed-dev ## the slow tests but the longest: whole cohorts, end to end
	$(PYTEST) -m "slow and not long"

check: $(VENV)/.installed-dev ## style, types, layers, spelling; changes nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(VENV)/.installed-dev ## style mended where a tool can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: | $(BIN)/python ## the lock files anew, for every Python from 3.11 on
	$(PIP) install --quiet "uv>=0.9,<1"
	$(COMPILE) --extra build --output-file requirements.lock
	$(COMPILE) --extra build --extra dev --constraint requirements.lock \
		--output-file requirements-dev.lock

COMPILE = env -u UV_FIND_LINKS $(BIN)/uv --no-config pip compile pyproject.toml --quiet --upgrade \
	--universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock"

clean: ## everything that make has made, but not $(DEMO)/
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache

# Editable, so that a change in the sources is at once in force.
PETBIND := $(PIP) install --quiet --no-deps --no-build-isolation --editable .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "petbind needs Python 3.11 or later; name one with: make PYTHON=python3.12 ..." >&2; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; \
		exit 1; }

$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement requirements.lock
	$(PETBIND)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(PIP) install --quiet --require-hashes --requirement requirements-dev.lock
	@touch $@
