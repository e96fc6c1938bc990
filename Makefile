# Two commands do everything on a fresh machine: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
# A torch that the tests were run with. To take a CPU-only or another build: make demo TORCH="torch==2.13.0 --index-url URL"
TORCH  ?= torch==2.13.0
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
JOINED := $(VENV)/.runtimes
IMAGES := $(VENV)/.containers

# Most tests start new interpreters, which load our modules faster from bytecode.
unexport PYTHONDONTWRITEBYTECODE
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help env demo test check lint types contracts bench clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml scripts/setup-env.sh
	PYTHON="$(PYTHON)" TORCH="$(TORCH)" scripts/setup-env.sh $(VENV)

$(JOINED): $(READY) $(addprefix scripts/,setup-runtimes.sh apt-install.sh build-horovod.sh install-mpis.sh install-slurm.sh download-debian.sh container-mirror.sh)
	scripts/setup-runtimes.sh $(VENV)

env: $(READY)  ## Make the environment .venv, with ranklog, its backends and the tools of its tests

$(IMAGES): $(READY) containers/constraints.txt $(addprefix scripts/,setup-containers.sh apt-install.sh install-apptainer.sh download-debian.sh container-base.sh container-mirror.sh container-wheels.sh)
	TORCH="$(TORCH)" scripts/setup-containers.sh $(VENV)

demo: $(READY)  ## Train on real data over two ranks, then read the result back from the backends
	$(BIN)/python examples/demo.py

# One worker more than CI has cores: tests that wait for Slurm, servers and time limits need no core meanwhile.
test:  ## Install what is missing and run every check and test
	$(MAKE) -j 2 --output-sync $(JOINED) $(IMAGES) lint types contracts
	$(BIN)/python -m pytest -n 3 --durations=30

check: $(READY) lint types contracts  ## The fast loop: lint, types, contracts, unit tests
	$(BIN)/python -m pytest -q -m "not slow" -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit -q -c pyproject.toml -r src

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports

bench: $(READY)  ## Measure the cost in the training thread, side by side with the backends' own clients
	$(BIN)/python -m benchmarks

clean:  ## Remove the environment and what runs left here
	rm -rf $(VENV) demo-runs mllogs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
