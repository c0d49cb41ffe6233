# `make test` and `make demo` work in a fresh clone: git, make and a Python (3.9 or later) suffice.

PYTHON ?= python3

# Makes what is missing, a second's fraction of work when nothing is, and prints the path of the
# mosquitto to use, which the tests read from the environment.
SETUP = MQTT_TEST_MOSQUITTO=$$($(PYTHON) scripts/setup) && export MQTT_TEST_MOSQUITTO

# The plain modules that users copy beside the folder: formatted as without any settings.
COPIED = $(addprefix tests/,$(addsuffix .py,mqtt_test_broker shared_mqtt_pool \
	optimized_service_fixture concurrent_futures_fix camera_detector_optimized_fixture))

.PHONY: help setup test matrix neighbours demo bench rivals soak lint format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile
	@echo 'With another Python: make PYTHON=python3.12 test'

setup: ## make the environment: .venv, and a mosquitto if there is none
	@$(PYTHON) scripts/setup

test: ## run the tests, on all cores; ARGS="-k foo" goes to pytest, ARGS="-m slow" runs the slow ones
	@$(SETUP) && .venv/bin/pytest -n auto --dist worksteal -m "not slow" $(ARGS)

matrix: ## run a user's repository with every Python, pytest, paho-mqtt, layout and plugin
	@$(SETUP) && .venv/bin/nox $(ARGS)

neighbours: ## run a suite beside tracers, mocks and plugins, and paho-mqtt in odd places
	@$(SETUP) && .venv/bin/nox --session neighbours $(ARGS)

demo: ## time a slow suite before and after, side by side
	@$(SETUP) && .venv/bin/python scripts/verify_speedup.py $(ARGS)

bench: ## measure what a loan, a barrier and a broker cost
	@$(SETUP) && .venv/bin/python scripts/bench.py $(ARGS)

rivals: ## run the same tests with what people use instead, and compare
	@$(SETUP) && .venv/bin/python scripts/rivals.py $(ARGS)

soak: ## kill, flood and crowd for minutes, and look for what stays; ARGS=--quick for a tenth
	@$(SETUP) && .venv/bin/python scripts/soak.py $(ARGS)

lint: setup ## check style, format and types
	.venv/bin/ruff check --config pyproject.toml
	.venv/bin/ruff format --check --config pyproject.toml
	.venv/bin/ruff format --check --isolated $(COPIED)
	.venv/bin/mypy

format: setup ## rewrite the code in its format, and fix what can be fixed
	.venv/bin/ruff check --config pyproject.toml --fix
	.venv/bin/ruff format --config pyproject.toml
	.venv/bin/ruff format --isolated $(COPIED)

clean: ## remove the environment and the caches
	rm -rf .venv .mosquitto .nox .rivals .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find scripts tests -name __pycache__ -prune -exec rm -rf {} +
