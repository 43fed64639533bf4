# Everything a fresh machine needs: `make demo` and `make test` set up `.venv` themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test quick lint bench clean

setup: $(VENV)/.done

# torch first and alone: a range that another package asks for would fetch the newest CUDA build.
$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/python scripts/demo.py

# Two processes, as on the machines that this is tested on: most tests train or predict on one thread.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

quick: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not bundle"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python scripts/benchmark.py train
	$(BIN)/python scripts/benchmark.py infer
	$(BIN)/python scripts/benchmark.py metrics

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
