# `make demo` and `make test` set up what they need; PYTHON chooses the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
RUN = .venv/bin/python -m
PIP = $(RUN) pip --disable-pip-version-check --quiet install

# The environment belongs to one interpreter; with another PYTHON it is made anew.
MADE = .venv/.made-with-$(subst /,-,$(PYTHON))

# Else each of the hundreds of processes that the tests start compiles the whole package for itself.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo demo-picture docs install uninstall check test test-all test-newest test-full test-lowest lint format bench bench-smoke licenses release-check clean

help:
	@echo "make demo         stop the sample campaigns at a simulator on this machine"
	@echo "make install      put bulkstop on the PATH: by pipx or uv, else with a link in ~/.local/bin; make uninstall"
	@echo "make docs         write the tables of docs/ anew from the code; make demo-picture: its picture"
	@echo "make check        lint, types and the tests without sockets and processes: while you write"
	@echo "make test         lint, types and tests: before you offer a change"
	@echo "make test-all     also real services, kills, large files, and the newest and lowest versions of what is depended on"
	@echo "make lint         ruff and mypy only"
	@echo "make format       let ruff put the code in form"
	@echo "make bench        every target of speed beside other tools; adds to benchmarks/RESULTS.md"
	@echo "make bench-smoke  a short run of each benchmark"
	@echo "make licenses     list the licence of every package that is needed"
	@echo "make release-check  build the last commit, check it, and install it on the oldest and the newest Python here"
	@echo "make clean        remove what the others have made"

demo: .venv/.package
	@PATH="$(CURDIR)/.venv/bin:$$PATH" sh samples/demo.sh

docs: .venv/.package
	$(RUN) docs.generate

demo-picture: .venv/.tools
	$(RUN) docs.record_demo

install:
	@PYTHON="$(PYTHON)" sh samples/install.sh

uninstall:
	@sh samples/install.sh --remove

check: lint
	$(RUN) pytest -q -n 2 --dist loadfile -m "not real" --hypothesis-profile=quick

test: lint
	$(RUN) pytest -m "not alone and not full" -n 4 --dist loadfile --hypothesis-profile=quick  # most of them wait

test-all: test-newest test-full test-lowest

# An environment that was made some time ago has what was the newest then.
test-newest: $(MADE)
	$(PIP) --upgrade --upgrade-strategy eager --editable '.[test]' --constraint constraints.txt
	@touch .venv/.package .venv/.tools
	$(RUN) pip --disable-pip-version-check freeze --exclude-editable
	$(MAKE) test

test-full: .venv/.tools
	$(RUN) pytest -m "(full or hypothesis) and not alone" -n 4 --dist loadfile
	$(RUN) pytest -m "alone" -n 2  # these measure times, so nothing else runs beside them

test-lowest: .venv-lowest/.tools
	.venv-lowest/bin/python -m pytest -m "not alone and not full" -n 4 --dist loadfile --hypothesis-profile=quick

lint: .venv/.tools
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

format: .venv/.tools
	$(RUN) ruff check --fix-only --quiet .
	$(RUN) ruff format .

bench: .venv/.tools
	@LOCUST="$(LOCUST)" .venv/bin/python benchmarks/bench.py --append benchmarks/RESULTS.md

bench-smoke: .venv/.tools
	@for script in $$(grep -l -e --smoke benchmarks/*.py); do \
		echo "$$script"; .venv/bin/python "$$script" --smoke || exit 1; \
	done

licenses: .venv/.tools
	@$(RUN) release.licenses

release-check: .venv-release/.tools
	@.venv-release/bin/python -m release.check

clean:
	rm -rf .venv .venv-lowest .venv-release build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis demo.results.jsonl*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "This Python is older than 3.11; choose one: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.package: $(MADE) pyproject.toml
	$(PIP) --editable .
	@touch $@

.venv/.tools: $(MADE) pyproject.toml constraints.txt
	$(PIP) --editable '.[test]' --constraint constraints.txt
	@touch .venv/.package $@

# Each dependency at the lowest version that pyproject.toml allows; the test tools as in constraints.txt.
.venv-lowest/.tools: pyproject.toml constraints.txt tests/lowest.py
	$(PYTHON) -m venv --clear .venv-lowest
	$(PYTHON) tests/lowest.py pyproject.toml constraints.txt > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[test]' --constraint .venv-lowest/constraints.txt
	@touch $@

.venv-release/.tools: release/requirements.txt
	$(PYTHON) -m venv --clear .venv-release
	.venv-release/bin/python -m pip --disable-pip-version-check --quiet install --requirement release/requirements.txt
	@touch $@
