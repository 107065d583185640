# Everything runs from a fresh clone with only python3 and make.
#
#   make demo                    train the basic VAE on folk tunes, evaluate it, write music and pictures to runs/demo
#   make test                    lint, types, tests
#   make test-report             drive the report of a run in a headless Chromium
#   make demo PYTHON=python3.13  either of them with another Python; each version has its own environment in .venv/

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
print_version := -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
VERSION := $(shell $(PYTHON) $(print_version))
ifeq ($(VERSION),)
# pyenv puts commands on the path that fail unless their version is switched on: ask it where the interpreter is.
override PYTHON := $(or $(lastword $(sort $(wildcard $(shell pyenv root 2>/dev/null)/versions/*/bin/$(PYTHON)))),$(PYTHON))
VERSION := $(shell $(PYTHON) $(print_version))
endif
VENV := .venv/$(VERSION)
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
WORKDIR ?= runs/demo
PYTEST_ARGS ?=
SEED ?= 0

.PHONY: help demo test test-report suite lint style types format bench drills install clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 20

demo: install  ## train, evaluate and listen to the basic VAE of folk tunes, in runs/demo
	$(PY) experiments/train.py demo --workdir $(WORKDIR)
	$(PY) experiments/evaluate.py --workdir $(WORKDIR) --split test
	$(PY) experiments/generate.py gallery --workdir $(WORKDIR) --out $(WORKDIR)/gallery

# Style first, which takes seconds; then types beside the tests. A failure of any fails the target.
test: style  ## lint, types, tests
	@$(MAKE) --no-print-directory --jobs=2 types suite

suite: install
	$(PY) -m pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder --durations=10 $(PYTEST_ARGS)

# Needs Debian's packages, or a Chromium and its driver from elsewhere.
test-report: install  ## drive the report of a run in a headless Chromium
	@command -v chromium chromedriver >/dev/null && test -x "$$(command -v chromedriver)" || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core >/dev/null; } || \
	  { echo "make test-report needs chromium and chromedriver, and could not install the Debian packages" >&2; exit 1; }
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,report]'
	$(PY) -m pytest -p no:xdist -m browser tests/analysis/test_report_in_a_browser.py $(PYTEST_ARGS)

lint: style types  ## ruff and mypy

style: install
	$(PY) -m ruff check
	$(PY) -m ruff format --check

types: install
	$(PY) -m mypy

format: install  ## sort imports, fix what can be fixed, format
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: install  ## slow tests, then timings of training step, sampler and input pipeline
	$(PY) -m pytest -m slow --durations=10 $(PYTEST_ARGS)
	$(PY) experiments/benchmark.py

drills: install  ## hostile files, damaged runs, full disks and signals: what was tried and what held
	$(PY) -m tests.drills --seed $(SEED)

install: $(INSTALLED)  ## make the environment

# The interpreter is a link: when the Python it points to goes away, make sees no file and builds the environment anew.
$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "musicvae_jax needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.11 (PYTHON=$(PYTHON) is '$(VERSION)')" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(INSTALLED): $(PY) pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (a minute or two) ..."
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:  ## remove environments and caches; runs/ stays
	rm -rf .venv .cache
	find . -name __pycache__ -type d -not -path './runs/*' -prune -exec rm -rf {} +
