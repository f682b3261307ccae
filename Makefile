# make train      set up, then train (ARGS="--preset ..." go to train.py)
# make test       set up, then the fast tests
# make test-long  set up, then the slow tests
# make lint       set up, then ruff and mypy
# make .venv      set up only
# make web        build the browser page into tf_dhm/web_page, for `python -m tf_dhm.demo` and wheels
# make test-web   set up, then build and test the browser page and npm package
#
# The last two need Node.js 20.19 or later, and the tests Chromium (CHROMIUM=... names it).
#
# PYTHON=... names the Python to make the environment with, VENV=... where to make it.

SHELL := /bin/sh
VENV ?= .venv
PYTHON ?=
ARGS ?=

BIN := $(VENV)/bin
# Written after requirements.txt was installed, so that it is not installed at every call.
STAMP := $(VENV)/.requirements-installed
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))
VERSION := import sys; print("%d.%d.%d" % sys.version_info[:3])

.PHONY: train test test-long lint .venv web test-web needs-node

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

.venv: $(STAMP)

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

# An environment that works is kept and updated; another is made anew. A candidate is run, not
# only looked up: a version manager's stand-in may be on the PATH for a Python that is not there.
$(STAMP): requirements.txt
	@if ! { $(BIN)/python -c '$(SUPPORTED)' && $(BIN)/python -m pip --version; } >/dev/null 2>&1; then \
	    chosen=; found=; \
	    for candidate in $(or $(PYTHON),python3.11 python3.10 python3 python); do \
	        version=$$($$candidate -c '$(VERSION)' 2>/dev/null) || continue; \
	        if $$candidate -c '$(SUPPORTED)'; then chosen=$$candidate; break; fi; \
	        found="$${found:+$$found, }$$candidate $$version"; \
	    done; \
	    if [ -z "$$chosen" ]; then \
	        echo "error: Python: found $${found:-none}, expected Python 3.11 or 3.10 (TensorFlow 2.15" \
	            "has no wheels for others). Install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
	        exit 1; \
	    fi; \
	    echo "Making $(VENV) with $$chosen"; \
	    $$chosen -m venv --clear $(VENV); \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
