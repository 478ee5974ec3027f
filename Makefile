# make setup   a virtual environment in .venv with exact versions (does nothing where it is up to date)
# make fix     let ruff put right what it can
# make check   what needs no test run: ruff, import rules, file lengths
# make test    the tests
# make slow    the tests that take longer than ten seconds each: kills, several processes, compiling
# make demo    the whole idea on the embedded models: output/demo/report.html
# make bench   every script in benchmarks/

.DEFAULT_GOAL := help
.PHONY: help setup fix check test slow demo bench

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
# The first Python on this machine that is new enough (3.11).
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
MAX_LINES := 300

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python >= 3.11 found; install one, or run make PYTHON=/path/to/python3"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch by itself first: it is the one big download, and a failure later need not repeat it.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

fix: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	@# A file longer than this has two subjects.
	@find . -name '*.py' -not -path './$(VENV)/*' -not -path './output/*' -exec wc -l {} + \
		| awk '$$2 != "total" && $$1 > $(MAX_LINES) { print $$2 ": " $$1 " lines; at most $(MAX_LINES)"; bad = 1 } END { exit bad }'

test: setup
	$(BIN)/python -m pytest -m 'not slow' --numprocesses auto --maxprocesses 4 --dist loadfile --durations=10

slow: setup
	$(BIN)/python -m pytest -m 'slow and not gpu' --durations=10

demo: setup
	$(BIN)/python -m persam_dreambooth demo --output_dir output/demo

bench: setup
	@for script in benchmarks/*.py; do \
		test -e $$script || continue; echo "== $$script"; $(BIN)/python $$script || exit 1; done
