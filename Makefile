# SPDX-License-Identifier: Apache-2.0
#
# `make help` lists the targets. Each one sets up what it needs the first time.

PYTHON := .venv/bin/python
STAMP := .venv/.set-up
PYTEST_JOBS ?= 2

# The whole engine's job, when TOPLEVEL is empty or `top`.
MAIN_JOB ?= unzipfpga.commands.sim_mnist
MAIN_ARGS ?=
EXAMPLES ?= mnist face nsfw

TOPLEVEL ?=
SIM ?= verilator
CONFIG ?=
SEED ?= 1
WAVES ?= 0
FILTER ?=
PARAMETERS ?=
MUTANTS ?= 20
SEEDS ?= 1 2 3
RANDOM ?=
JOBS ?= 2
FAMILY ?=
DEVICE ?= 85k
SPEED ?= 8
MHZ ?= 100
DOCS ?= 0
JSON ?= 0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help setup sim test accuracy examples lint format generate fusesoc regress benchmarks nightly coverage mutants \
        formal synth pnr docs requirements clean distclean

help: ## list the targets and variables
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  variables of sim (default):"
	@echo "    TOPLEVEL=top|wgen|pe|projector|engine|csr|dma (top)   what is simulated; top: the whole engine"
	@echo "    SIM=verilator|icarus (verilator)            simulator"
	@echo "    CONFIG=<preset of configs.yaml>             build parameters (tiny for blocks)"
	@echo "    SEED=<n> (1)   WAVES=0|1 (0)                random seed; write an FST file"
	@echo "    MAIN_ARGS='--images 20'                     options of the main job (TOPLEVEL=top)"
	@echo "    FILTER=<regular expression>                 only tests (benchmarks: commands) that match"
	@echo "    PARAMETERS='J=4 G=2'                        replace single parameters of the preset"

setup: $(STAMP) ## make .venv and install what is missing (done by every target)

$(STAMP): requirements.txt pyproject.toml scripts/setup.sh
	@bash scripts/setup.sh
	@touch $@

sim: $(STAMP) ## run the main job, or one block's testbench: TOPLEVEL=wgen
ifeq ($(filter-out top,$(TOPLEVEL)),)
	@$(PYTHON) -m $(MAIN_JOB) --sim "$(SIM)" --config "$(CONFIG)" --seed "$(SEED)" --waves "$(WAVES)" \
	  $(MAIN_ARGS)
else
	@$(PYTHON) -m verif.runner "$(TOPLEVEL)" --sim "$(SIM)" --config "$(CONFIG)" --seed "$(SEED)" \
	  --waves "$(WAVES)" --filter "$(FILTER)" --parameters "$(PARAMETERS)"
endif

test: $(STAMP) ## run the test suite
	$(PYTHON) -m pytest -n $(PYTEST_JOBS) --dist worksteal -m "not slow"

accuracy: $(STAMP) ## accuracy of the integer model on MNIST's 10,000 test images, dense and OVSF
	@OPENBLAS_NUM_THREADS=1 $(PYTHON) examples/mnist/accuracy.py

examples: $(STAMP) ## trained networks end to end, RTL included, on photographs: EXAMPLES="mnist face nsfw"
	@for name in $(EXAMPLES); do OPENBLAS_NUM_THREADS=1 $(PYTHON) examples/run_$$name.py || exit $$?; done

lint: $(STAMP) ## check style and warnings of all sources
	@$(PYTHON) -m scripts.lint

format: $(STAMP) ## format all sources
	@$(PYTHON) -m scripts.lint --format

generate: $(STAMP) ## write constants, C headers and tables of regs/ to build/gen
	@$(PYTHON) -m scripts.generate

fusesoc: $(STAMP) ## run FuseSoC's lint and sim targets, results checked
	@$(PYTHON) -m scripts.run_fusesoc

regress: $(STAMP) ## every block on every simulator with SEEDS="1 2 3"; RANDOM=1000: as many seeds of the random tests; JOBS=2
	@$(PYTHON) -m scripts.regress --seeds "$(SEEDS)" --random "$(RANDOM)" --jobs "$(JOBS)"

benchmarks: $(STAMP) ## run the benchmark commands of docs/ and check what they measure: FILTER='networks.*zc706'
	@$(PYTHON) -m scripts.benchmarks --filter "$(FILTER)"

nightly: lint fusesoc ## all of lint, test (slow ones too), regress, benchmarks, coverage, mutants
	$(PYTHON) -m pytest -n $(PYTEST_JOBS)
	$(PYTHON) -m scripts.regress --seeds "1 2 3 4 5 6 7 8"
	$(PYTHON) -m scripts.regress --random 1000
	$(PYTHON) -m scripts.benchmarks
	$(PYTHON) -m scripts.formal
	$(PYTHON) -m scripts.coverage wgen
	$(PYTHON) -m scripts.mutate wgen --mutants 20 --seed 1

coverage: $(STAMP) ## line coverage of a block's testbench: TOPLEVEL=wgen
	@$(PYTHON) -m scripts.coverage "$(or $(TOPLEVEL),wgen)" --config "$(CONFIG)" --seed "$(SEED)"

mutants: $(STAMP) ## plant MUTANTS=20 faults (SEED=1) that TOPLEVEL=wgen's testbench must catch
	@$(PYTHON) -m scripts.mutate "$(or $(TOPLEVEL),wgen)" --mutants "$(MUTANTS)" --seed "$(SEED)" \
	  --config "$(CONFIG)"

formal: $(STAMP) ## prove on the RTL of both domains, for small sizes, that they give the same integers
	@$(PYTHON) -m scripts.formal

# Options of a script from variables that are 1.
FLAGS = $(if $(filter 1,$(JSON)),--json) $(if $(filter 1,$(DOCS)),--docs)

synth: $(STAMP) ## cells of the core by block, every preset: CONFIG= FAMILY=xc7|xcup|ecp5 TOPLEVEL= JSON=1 DOCS=1
	@$(PYTHON) -m scripts.synth "$(TOPLEVEL)" --family "$(FAMILY)" --config "$(CONFIG)" $(FLAGS)

PNR_STAMP := .venv/.set-up-pnr

$(PNR_STAMP): requirements-pnr.txt $(STAMP)
	@echo "installing nextpnr"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-pnr.txt
	@touch $@

pnr: $(PNR_STAMP) ## place and route CONFIG=small on ECP5: Fmax, critical path (DEVICE=85k SPEED=8 MHZ=100 SEED=1 JSON=1 DOCS=1)
	@$(PYTHON) -m scripts.pnr --config "$(or $(CONFIG),small)" --device "$(DEVICE)" --speed "$(SPEED)" \
	  --mhz "$(MHZ)" --seed "$(SEED)" $(FLAGS)

docs: $(STAMP) ## write the blocks' pages: tables from the sources, timing diagrams from the RTL
	@$(PYTHON) -m scripts.docs

requirements: ## pin requirements.in and all that it needs in requirements.txt
	@bash scripts/pin_requirements.sh

clean: ## remove build/
	rm -rf build

distclean: clean ## remove build/ and .venv
	rm -rf .venv
