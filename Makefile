# make train      set up, then train (ARGS="--preset ..." go to train.py)
# make test       set up, then the fast tests
# make test-long  set up, then the slow tests
# make lint       set up, then ruff and mypy
# make .venv      set up only
# make web        build the browser page into tf_dhm/web_page, for `python -m tf_dhm.demo` and wheels
# make test-web   set up, then build and test the browser page and npm package
# make docs       set up, then build the documentation site into site/
#
# `make web` and `make test-web` need Node.js 20.19 or later, and the tests Chromium (CHROMIUM=... names it).
#
# PYTHON=... names the Python to make the environment with, VENV=... its folder, and LANE=... the
# packages: "pinned" (TensorFlow 2.15, tensorflow-addons; Python 3.10 and 3.11) or "current"
# (TensorFlow 2.21, Keras 3; Python 3.11 to 3.13), in .venv-LANE. Without LANE the Python that is found decides.

SHELL := /bin/sh
LANE ?=
VENV ?= .venv$(if $(LANE),-$(LANE))
PYTHON ?=
ARGS ?=

BIN := $(VENV)/bin
BEGAN := $(shell date +%s)
# Written after the requirements were installed, so that they are not installed at every call.
STAMP := $(VENV)/.requirements-installed
ifeq ($(LANE),)
LOW := 10
HIGH := 13
CANDIDATES := python3.11 python3.10 python3.12 python3.13 python3 python
else ifeq ($(LANE),pinned)
LOW := 10
HIGH := 11
CANDIDATES := python3.11 python3.10 python3 python
else ifeq ($(LANE),current)
LOW := 11
HIGH := 13
CANDIDATES := python3.12 python3.13 python3.11 python3 python
else
$(error LANE: found $(LANE), expected pinned or current)
endif
# What uv is asked for if no supported Python is found.
UV_PYTHON := 3.$(if $(filter pinned,$(LANE)),11,12)
SUPPORTED := import sys; sys.exit(not (3, $(LOW)) <= sys.version_info[:2] <= (3, $(HIGH)))
VERSION := import sys; print("%d.%d.%d" % sys.version_info[:3])

.PHONY: train test test-long lint web test-web docs needs-node .venv .venv-pinned .venv-current

train: $(STAMP)
	$(BIN)/python train.py $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow" $(ARGS)

test-long: $(STAMP)
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

.venv .venv-pinned .venv-current: $(STAMP)

needs-node:
	@command -v npm >/dev/null || { \
	    echo "error: npm: found none, expected that of Node.js 20.19 or later (https://nodejs.org)" >&2; exit 1; }

web: needs-node
	cd web && npm ci --no-audit --no-fund && npm run build:page
	rm -rf tf_dhm/web_page
	cp -r web/dist-page tf_dhm/web_page

test-web: $(STAMP) needs-node
	$(BIN)/python tools/web_test_data.py
	cd web && npm ci --no-audit --no-fund && npm run lint && npm run build && npm test

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# An environment that works is kept and updated; otherwise a new one is made. A candidate is run, not
# only looked up: a version manager's stand-in may be on the PATH for a Python that is not there.
# On Python 3.11 the markers of requirements.txt choose the pinned lane; LANE=current drops its lines
# and the markers of the other one.
$(STAMP): requirements.txt
	@if ! { $(BIN)/python -c '$(SUPPORTED)' && $(BIN)/python -m pip --version; } >/dev/null 2>&1; then \
	    chosen=; found=; \
	    for candidate in $(or $(PYTHON),$(CANDIDATES)); do \
	        version=$$($$candidate -c '$(VERSION)' 2>/dev/null) || continue; \
	        if $$candidate -c '$(SUPPORTED)'; then chosen=$$candidate; break; fi; \
	        found="$${found:+$$found, }$$candidate $$version"; \
	    done; \
	    if [ -n "$$chosen" ]; then \
	        echo "Making $(VENV) with $$chosen"; \
	        $$chosen -m venv --clear $(VENV) || exit 1; \
	    elif [ -z "$(PYTHON)" ] && command -v uv >/dev/null; then \
	        echo "Found $${found:-no Python}; making $(VENV) with Python $(UV_PYTHON) from uv"; \
	        uv venv --quiet --clear --seed --python $(UV_PYTHON) $(VENV) || { \
	            echo "error: uv could not provide Python $(UV_PYTHON). Check the network, or install" \
	                "Python 3.$(LOW) to 3.$(HIGH) and name it: make PYTHON=/path/to/python" >&2; exit 1; }; \
	    else \
	        echo "error: Python: found $${found:-none}, expected Python 3.$(LOW) to 3.$(HIGH). Install" \
	            "one, or install uv (pip install uv), which fetches it, or name one:" \
	            "make PYTHON=/path/to/python" >&2; \
	        exit 1; \
	    fi; \
	fi
ifeq ($(LANE),current)
	sed -e '/; python_version < "3.12"/d' -e 's/ *; python_version >= "3.12"//' requirements.txt \
	    >$(VENV)/requirements-current.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(VENV)/requirements-current.txt
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
endif
	@touch $@
	@echo "Set-up took $$(($$(date +%s) - $(BEGAN))) s"
