# Each target makes the virtual environment that it needs. PYTHON=python3.12 make test picks another.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PLUGINS = ragcore-bm25 ragcore-faiss ragcore-transformers ragcore-world
EDITABLE = $(foreach plugin,$(PLUGINS),-e plugins/$(plugin))
# hnswlib comes as source: its tests are left out where there is no compiler.
COMPILED = $(if $(shell command -v c++),ragcore-hnswlib)
TESTABLE = $(foreach plugin,$(PLUGINS) $(COMPILED),-e plugins/$(plugin)[test])

.PHONY: demo test check bench format clean

demo: $(VENV)/.demo
	$(BIN)/ragcore world demo --folder demo --html demo.html

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo demo.html .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml)
	@echo "Installing ragcore and its plugins into $(VENV) (torch is the bulk of it) …"
	$(BIN)/python -m pip install -q -c constraints.txt -e . $(EDITABLE)
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test,lint]" $(TESTABLE)
	touch $@
