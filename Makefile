# `make run` and `make test` need nothing but Python 3.11 or later: they set everything up in .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_VENV := .venv-bench
BENCH_STAMP := $(BENCH_VENV)/.installed
EXAMPLES_VENV := .venv-examples
EXAMPLES_STAMP := $(EXAMPLES_VENV)/.installed
# As every setting: FUSEBOX_PORT=9000 make run. HOST is not taken from the environment: some shells put their own name there.
HOST := $(or $(FUSEBOX_HOST),127.0.0.1)
PORT ?= $(or $(FUSEBOX_PORT),8000)

.PHONY: install run test check format fuzz bench bench-hostile bench-graphs bench-families examples zoo-index lock clean

install: $(STAMP)

# torchvision and timm too: `architecture=` asks for them, and their models are fused and loaded strictly in the tests.
$(STAMP): requirements/zoo.txt requirements/dev.txt pyproject.toml client/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/zoo.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e client
	touch $(STAMP)

run: install
	$(BIN)/fusebox serve --host $(HOST) --port $(PORT)

# The engine's tests share the cores; those that start servers, and kill them, have the machine to themselves; those with
# a browser have a process of their own, which it fills with an event loop.
test: install check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/engine -n auto --dist worksteal
	$(BIN)/python -m pytest --ignore tests/engine --ignore tests/browser
	$(BIN)/python -m pytest tests/browser

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Each reader under a coverage-guided fuzzer: `make fuzz TARGET=onnx RUNS=5000000`.
RUNS ?= 1000000
TARGET ?= pickle_machine zip_archive checkpoint safetensors onnx pt2 expression
fuzz: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	for target in $(TARGET); do $(BIN)/python -m tests.fuzz $$target -runs=$(RUNS) || exit 1; done

bench: install
	$(BIN)/python -m bench

# All hostile files of the tests by HTTP: executed, worst answer, peak memory, good jobs in between.
bench-hostile: install
	$(BIN)/python -m bench.hostile $(ARGS)

# Peers, exporters and their torch need an environment of their own. `make bench-graphs ARGS='--only repvgg --json r.json'`.
bench-graphs: install $(BENCH_STAMP)
	$(BENCH_VENV)/bin/python -m bench.graphs $(ARGS)

# What `architecture=` proposes: make it anew when the packages' versions change.
zoo-index: install
	$(BIN)/python -m bench.zoo_index

# Every family of timm with blocks that re-parameterise, beside timm's own; and the fuse step beside its peers.
bench-families: install
	$(BIN)/python -m bench.families $(ARGS)

$(BENCH_STAMP): requirements/bench.txt
	test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/bench.txt
	touch $(BENCH_STAMP)

# The examples on MLflow, Airflow and DVC themselves; `make test` runs them on stand-ins.
examples: install $(EXAMPLES_STAMP)
	EXAMPLES_PYTHON=$(abspath $(EXAMPLES_VENV))/bin/python $(BIN)/python -m pytest tests/client/test_examples.py

$(EXAMPLES_STAMP): requirements/examples.txt client/pyproject.toml
	test -x $(EXAMPLES_VENV)/bin/python || $(PYTHON) -m venv $(EXAMPLES_VENV)
	$(EXAMPLES_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/examples.txt -e client
	touch $(EXAMPLES_STAMP)

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(EXAMPLES_VENV) .bench build dist *.egg-info

# Needs uv in the environment: `.venv/bin/pip install uv`.
lock: install
	for extra in api worker dev; do \
	  case $$extra in api) extras=;; worker) extras="--extra worker";; dev) extras="--extra worker --extra dev";; esac; \
	  $(BIN)/uv pip compile pyproject.toml $$extras --no-header --no-annotate -q | sed 's/+cpu//' > requirements/$$extra.txt; \
	done
