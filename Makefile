# Needs only Python (>= 3.10) and make. Everything else goes into $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-fast check format clean

demo: $(READY)  ## train a small network on scikit-learn's digits and build it for this machine
	$(BIN)/python -m edgekit.demo

# By file: what the tests of a module share is made once.
test: $(READY)  ## the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: $(READY)  ## without the tests marked slow
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

check: $(READY)  ## lint, format, types, import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch goes first: the constraint names the version whose CPU build was tested.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all,dev]"
	touch $@

clean:
	rm -rf $(VENV) .edgekit demo-out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
