# `train` and `test` work on a fresh clone with nothing but python3 and make.
PYTHON ?= python3
VENV := .venv
# Remade for another Python, and if making it was interrupted.
VERSION := $(shell $(PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])")
MADE := $(VENV)/made-for-python-$(VERSION)
WRONG := expected Python 3.10 to 3.13, found %d.%d; for example: make PYTHON=python3.12

.PHONY: train help check test test-long test-versions lint bench

train: $(VENV)/installed  ## installs, trains, prints the test accuracy: make train FLAGS="--nobatch_norm"
	$(VENV)/bin/python train.py $(FLAGS)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check: lint  ## lint, and the tests that start no process: before every commit
	$(VENV)/bin/python -m pytest --numprocesses=auto --dist=worksteal --ignore=tests/system

test: lint  ## the commands too, as a user runs them: before every push
	$(VENV)/bin/python -m pytest --numprocesses=auto --dist=worksteal -m "not long"

test-long: lint  ## all tests, also those that nobody waits for, and which lines they reach
	rm -f .coverage .coverage.*
	$(VENV)/bin/coverage run -m pytest --numprocesses=auto --dist=worksteal
	$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage report --include="mnist/*"
	$(VENV)/bin/coverage report --include="console/*,storage/*,training/*,dashboard/*,cluster/*,serving/*"
	$(VENV)/bin/coverage report --include="studies/*"
	$(VENV)/bin/coverage report --omit="mnist/*,console/*,storage/*,training/*,dashboard/*,cluster/*,serving/*,studies/*,tests/*,benchmarks/*"

test-versions:  ## train and test on every Python found; batch norm on every TensorFlow
	$(PYTHON) tests/versions.py
	$(PYTHON) tests/tensorflows.py

lint: $(VENV)/installed-dev  ## format, style and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

bench: $(VENV)/installed-bench  ## speed, beside PyTorch and Keras; needs MNIST: make bench FLAGS="--data_dir=data"
	$(VENV)/bin/python -m benchmarks.speed $(FLAGS)

$(MADE):
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; \
	    (3, 10) <= v <= (3, 13) or sys.exit('$(WRONG)' % v)"
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(VENV)/installed: requirements.txt $(MADE)
	@echo "installing TensorFlow and the rest into $(VENV): a minute or two, part of it silent"
	$(VENV)/bin/pip install -r requirements.txt
	touch $@

$(VENV)/installed-dev: requirements-dev.txt requirements-export.txt $(VENV)/installed
	$(VENV)/bin/pip install -r requirements-dev.txt
	touch $@

$(VENV)/installed-bench: benchmarks/requirements.txt requirements-export.txt $(VENV)/installed
	$(VENV)/bin/pip install -r benchmarks/requirements.txt
	touch $@
