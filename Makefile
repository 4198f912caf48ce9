# make train [CONFIG=configs/mnist.py] [ARGS="--config.seed=1"] [ACCELERATOR=cuda13|tpu]
# make test [ARGS="-k name"]      make prepare DATA=mnist [ARGS=--manual_dir=DIR]
# make benchmark ARGS=train|start|transforms|curvature|escape|ordinary|data|storage|sweep|scale|halving|diagnosis
#
# Each makes the environment .venv first and installs what is missing; a second call installs nothing.

PYTHON ?= python3
VENV ?= .venv
CONFIG ?= configs/digits.py
DATA ?= mnist
ARGS ?=
ACCELERATOR ?=

RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check

.PHONY: train test prepare benchmark check clean

train: $(VENV)/installed-train$(ACCELERATOR)
	@$(RUN) train.py --config=$(CONFIG) $(ARGS)

test: $(VENV)/installed-dev
	@$(RUN) -m pytest -n 3 --dist loadfile $(ARGS)

prepare: $(VENV)/installed-tfds
	@$(RUN) scripts/prepare_data.py $(DATA) $(ARGS)

benchmark: $(VENV)/installed-bench
	@$(RUN) scripts/benchmark.py $(ARGS)

check: $(VENV)/installed-dev
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check . && $(RUN) -m mypy

clean:
	rm -rf $(VENV)

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than 3.11; choose another: make PYTHON=python3.12" >&2; exit 2; }
	@echo "making the environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed-train: requirements.txt $(VENV)/created
	@echo "installing requirements.txt into $(VENV)"
	@$(INSTALL) -r requirements.txt
	@touch $@

$(VENV)/installed-train%: $(VENV)/installed-train
	@echo "installing JAX for $* into $(VENV)"
	@$(INSTALL) "jax[$*]==$$($(RUN) -c 'import importlib.metadata as m; print(m.version("jax"))')"
	@touch $@

$(VENV)/installed-%: requirements-%.txt requirements.txt $(VENV)/created
	@echo "installing requirements-$*.txt into $(VENV)"
	@$(INSTALL) -r requirements-$*.txt
	@touch $@
	@touch $(VENV)/installed-train
