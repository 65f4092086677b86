# Two commands do everything: `make serve` installs and serves a small model, `make test` installs and tests.
# LOCALAI_* variables (README.md) are honoured by both the server and `make serve`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Without the page of warnings that setuptools prints for an installation which uses this folder.
PIP := PYTHONWARNINGS=ignore $(BIN)/pip --quiet
# What llama.cpp is compiled for on this machine, a few minutes, once: cpu, cuda, vulkan, hip, sycl or portable
# (docs/install.md). Without a word it stays what it was, and at first is cpu, or cuda where card and toolkit are there.
# CMAKE_ARGS, CC and CXX are honoured.
GPU ?=
# Which torch the tests use. On a machine with PyPI's default index this is the CUDA build (gigabytes);
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu takes the small one.
TORCH ?= torch==2.13.0

.PHONY: serve test test-engines lint chaos soak fuzz agents bench clean FORCE

serve: $(VENV)/.serve
	@exec $(BIN)/localai-flask serve --starter

# The tests of single parts run two at a time; those that start servers or compute have the machine to themselves. The
# second half runs whatever the first has found.
APART := tests/unit tests/api
test: $(VENV)/.test
	@failed=0; set -x; \
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(APART) || failed=1; \
	$(BIN)/python -m pytest $(APART:%=--ignore=%) || failed=1; \
	exit $$failed

# Holds every engine that runs on a CPU to one contract, each in its own environment, which is installed once and kept
# in the cache of the tests (some gigabytes). ENGINES names some of them, such as "vllm openvino".
ENGINES ?= all
test-engines: $(VENV)/.test
	TESTS_ENGINES="$(ENGINES)" $(BIN)/python -m pytest tests/contract

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Kills, stops and starves the processes of a running server, fills its disks and breaks its databases, for that long.
# It prints its seed; with SEED it strikes in the same way again. Full disks need root.
MINUTES ?= 10
SEED ?=
chaos: $(VENV)/.test
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# Sends that many requests as strangers may, made from clients' own types, to the application; SEED makes others.
# TARGET=live sends them to a running server with the small model, instead of one process with a scripted engine.
REQUESTS ?= 20000
TARGET ?= scripted
fuzz: $(VENV)/.test
	$(BIN)/python -m tests.fuzz --requests $(REQUESTS) --seed $(or $(SEED),1) --target $(TARGET)

# Asks and loads thousands of times, and looks for what grows.
soak: $(VENV)/.test
	$(BIN)/python -m tests.chaos.soak

# Installs coding agents from npm and PyPI into .agents/, and has each edit a file and answer twice; takes about half an hour.
agents: $(VENV)/.test
	$(BIN)/python -m tests.agents $(if $(ONLY),--only $(ONLY))

# Measures this server beside llama-server (on PATH, or named by LOCALAI_LLAMA_SERVER) in half an hour: benchmarks/README.md.
bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip

# Runs each time, and writes the file only when it has installed another build.
$(VENV)/llama_cpp_build.json: $(BIN)/python FORCE
	@$(BIN)/python -m localai_flask.engine_build install $(GPU)

$(VENV)/.serve: $(VENV)/llama_cpp_build.json setup.cfg pyproject.toml
	@$(PIP) install --editable '.[llama-cpp]'
	@$(BIN)/localai-flask doctor --try models/demo.gguf
	@touch $@

$(VENV)/.test: $(VENV)/.serve
	$(PIP) install $(TORCH)
	$(PIP) install --editable '.[llama-cpp,transformers,test]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
