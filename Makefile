# Two commands do everything from a bare clone: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
SLIDE ?= demo/phantom.tif
QUESTION ?= Is there tumour on this slide, and where?

.PHONY: help setup demo test lint clean
help:  ## List the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: $(VENV)/.done  ## Make the environment

# torch goes first and by itself, so that no other package picks another build of it. The package
# index's build for Linux brings CUDA (some GB); TORCH chooses another, see the README.
$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("RuiChat needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo/phantom.tif: | $(VENV)/.done
	mkdir -p demo
	$(BIN)/ruichat phantom draw $@ --seed 7

demo: setup $(if $(filter demo/phantom.tif,$(SLIDE)),demo/phantom.tif)  ## Ask a slide: SLIDE=path QUESTION="..."
	mkdir -p demo
	$(BIN)/ruichat ask "$(SLIDE)" "$(QUESTION)" --out demo
	$(BIN)/ruichat ask "$(SLIDE)" "切片上有肿瘤吗？在哪里？" --out demo

test: setup  ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: setup  ## Run the linters, the type checker and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:  ## Remove what the commands above made
	rm -rf $(VENV) demo
