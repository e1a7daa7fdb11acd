# `make demo` and `make test` set up what they need; PYTHON chooses the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
RUN = .venv/bin/python -m
PIP = $(RUN) pip --disable-pip-version-check --quiet install

# The environment belongs to one interpreter; with another PYTHON it is made anew.
MADE = .venv/.made-with-$(subst /,-,$(PYTHON))

# A busy machine can stand still for longer than a test in real time has patience. What failed is run once more, with
# nothing beside it: what is broken fails again. 1 is pytest's "tests failed"; with any other code nothing is known.
AGAIN = { test $$? -eq 1 && echo "once more, alone, what failed above; look at each that passes now:" && \
	$(RUN) pytest -v -n 0 --last-failed --last-failed-no-failures none; }

.PHONY: help demo test lint format bench bench-smoke clean

help:
	@echo "make demo         stop the sample campaigns at a simulator on this machine"
	@echo "make test         lint, types and tests"
	@echo "make lint         ruff and mypy only"
	@echo "make format       let ruff put the code in form"
	@echo "make bench        \`load\` beside other load generators; adds to benchmarks/RESULTS.md"
	@echo "make bench-smoke  a short run of each benchmark"
	@echo "make clean        remove what the others have made"

demo: .venv/.package
	@PATH="$(CURDIR)/.venv/bin:$$PATH" sh samples/demo.sh

test: lint
	$(RUN) pytest -m "not alone" -n 4 --dist loadfile || $(AGAIN)  # most of them wait more than they work
	$(RUN) pytest -m alone -n 2 || $(AGAIN)

lint: .venv/.tools
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

format: .venv/.tools
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

bench: .venv/.tools
	@LOCUST="$(LOCUST)" .venv/bin/python benchmarks/bench.py --append benchmarks/RESULTS.md

bench-smoke: .venv/.tools
	@for script in $$(grep -l -e --smoke benchmarks/*.py); do \
		echo "$$script"; .venv/bin/python "$$script" --smoke || exit 1; \
	done

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis demo.results.jsonl*
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
