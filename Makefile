# make demo: a synthetic dataset, training, testing and the picture of the mask.
# make check: linting, types and unit tests, without the extras for videos.
# make test: all but the longest tests, make test_long: those. All set up .venv first.
PYTHON ?= $(or $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null))),python3)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest --numprocesses=2 --dist=worksteal

.PHONY: demo lint check test test_long
.DELETE_ON_ERROR:

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --use-pep517 --editable .
	touch $@

.venv/installed_test: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --use-pep517 --editable '.[test]'
	touch $@

.venv/installed_all: .venv/installed_test
	$(BIN)/pip install --quiet --disable-pip-version-check --use-pep517 --editable '.[test,preprocessing,pose,beam]'
	touch $@

data/synthetic: .venv/installed
	$(BIN)/python -m preprocessing.synthetic --data_dir=data

demo: data/synthetic
	$(BIN)/python -m slr_jax.train --config=configs/synthetic.py --workdir=runs/synthetic
	$(BIN)/python -m slr_jax.evaluate --workdir=runs/synthetic
	$(BIN)/python -m slr_jax.interpret --workdir=runs/synthetic --output_dir=runs/synthetic/mask

lint: .venv/installed_test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m mypy

check: lint
	$(PYTEST) -m 'not slow' tests/unit

test: .venv/installed_all lint
	$(PYTEST) -m 'not long'

test_long: .venv/installed_all
	$(PYTEST) -m long
