# `make study` and `make test` are all that a fresh machine needs (Python 3.11 to 3.13, a C compiler, make).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
#: processes that share the tests
JOBS ?= 2

.PHONY: study compare test test-slow lint types unit install clean

study: $(VENV)/.installed ## create the environment and run the quickstart study
	$(BIN)/python run_bohb.py study

#: folder of `make compare`
COMPARED := runs/compare

compare: $(VENV)/.installed ## tune three optimizers on the digits, run baselines, and compare them
	for seed in 0 1 2 3 4 5; do for optimizer in darts gdas pc_darts; do \
	    run=$(COMPARED)/$$optimizer-$$seed; \
	    if [ -d $$run/report ]; then continue; fi; \
	    rm -rf $$run; \
	    $(BIN)/python run_bohb.py study --optimizer $$optimizer --seed $$seed --min-budget 2 --max-budget 8 \
	        --run-dir $$run || exit 1; \
	done; done
	$(BIN)/python run_bohb.py baselines --repeats 100 --output $(COMPARED)/baselines.jsonl
	$(BIN)/python run_bohb.py compare $(COMPARED)/*-[0-9] \
	    --baselines $(COMPARED)/baselines.jsonl --output $(COMPARED)/figures

test: lint types unit ## create the environment; lint, types and tests

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

unit: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-slow: $(VENV)/.installed ## the tests that take more than a few seconds each
	$(BIN)/python -m pytest -m slow

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	@echo "creating the environment in $(VENV): PyTorch and the other packages, some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip<26.2" "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
