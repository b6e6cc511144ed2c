# Everything a newcomer needs: `make train` and `make test` set up what they need by themselves.
SUITS  := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do $$p -c '$(SUITS)' 2>/dev/null && echo $$p && break; done)
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

env: $(VENV)/.runtime ## Set up .venv to train
dev: $(VENV)/.dev ## Set up .venv to train, test and lint

$(VENV)/.runtime: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(SUITS)' || \
		{ echo "Python 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.bench: $(VENV)/.runtime benchmarks/mosaic.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement benchmarks/mosaic.txt
	touch $@

# Another Hydra than this project's (1.4 against 1.3), hence an environment of its own.
$(VENV)/peer/.done: $(VENV)/.runtime benchmarks/sweepers/peer.txt
	$(BIN)/python -m venv $(VENV)/peer
	$(VENV)/peer/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/sweepers/peer.txt
	touch $@

train: env ## Simulate a small survey, train a lens finder on it, write its report (ARGS="key=value ..." to override)
	$(BIN)/python train.py experiment=lens_resnet18 $(ARGS)

test: dev ## Run the tests, but for the slow ones
	$(BIN)/python -m pytest $(ARGS)

test-slow: dev ## Run the slow tests
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: dev ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: dev ## Put the code into the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

search: env ## Search for better settings (ARGS="experiment=... search.n_trials=50")
	$(BIN)/python sweep.py $(ARGS)

simulate: env ## Simulate a survey to look at or train on: make simulate ARGS="OUT_FOLDER --survey upstream_grid"
	$(BIN)/halo simulate $(ARGS)

bench-loader: $(VENV)/.bench ## Compare stamps/s with other loaders (ARGS="--stamps 20480 --rounds 5")
	$(BIN)/python benchmarks/loader.py $(ARGS)

bench-train: env ## Measure training speed and what the loader takes of it (ARGS="--rounds 5 key=value ...")
	$(BIN)/python benchmarks/train.py $(ARGS)

bench-search: $(VENV)/peer/.done ## Compare searches with those of hydra-optuna-sweeper (ARGS="--rounds 5 --seeds 1 2 3 4 5")
	$(BIN)/python benchmarks/search.py --peer $(VENV)/peer/bin/python $(ARGS)

bench-jobs: dev ## Measure what a sweep of tiny jobs costs beside its trainings (ARGS="--jobs 1000 --bases 40")
	$(BIN)/python benchmarks/jobs.py $(ARGS)

bench-scale: env ## Measure start-up and memory against the number of rows (ARGS="--rows 10000 1000000")
	$(BIN)/python benchmarks/scale.py $(ARGS)

clean: ## Remove the environment and caches; keep data and logs
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help env dev train search test test-slow lint format simulate bench-loader bench-train bench-search bench-jobs bench-scale clean
