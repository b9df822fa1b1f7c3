# `make` without a target lists all targets. The first target that needs an environment creates it in .venv.
#
#   make test PYTHON=/path/to/python    use this Python, which already has all packages; nothing is installed
#   make test BASE_PYTHON=python3.12    create .venv with this Python instead of python3

.DEFAULT_GOAL := help
SHELL := /bin/sh
BASE_PYTHON ?= python3
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
# This file is written after a successful installation. If it is missing, the next make completes the installation.
STAMP := $(VENV)/.installed

# PYTHON is only read from the command line, since a variable of this name in the environment is for other programs.
ifeq ($(origin PYTHON),command line)
ENVIRONMENT :=
else
override PYTHON := $(VENV_PYTHON)
ENVIRONMENT := $(STAMP)
endif

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@sed -n '3,4s/^# *//p' $(firstword $(MAKEFILE_LIST)) | sed 's/^/  /'

.PHONY: quickstart
quickstart: $(ENVIRONMENT) ## Train, evaluate and draw a small model on generated images
	$(PYTHON) tools/quickstart.py

.PHONY: transfer
transfer: $(ENVIRONMENT) ## Transfer a backbone from segmentation to detection on generated images
	$(PYTHON) tools/transfer.py

# The tests run with one thread, since on shared cores several threads make them 10 to 40 times slower. PYTHONPATH is
# set for a PYTHON in which tokenseg is not installed.
TEST = PYTHONPATH=$(CURDIR)/projects OMP_NUM_THREADS=1 $(PYTHON) -m pytest tests
.PHONY: test
test: $(ENVIRONMENT) ## Run all tests, and list at the end what the slow ones add
	$(TEST)

.PHONY: test-fast
test-fast: $(ENVIRONMENT) ## Run the tests that are not slow
	$(TEST) -m "not slow"

.PHONY: test-web
test-web: $(ENVIRONMENT) ## Test the pages of report.py and demo.py in a browser; needs the extra `web` and Chromium
	PYTHONPATH=$(CURDIR)/projects$${PYTHONPATH:+:$$PYTHONPATH} OMP_NUM_THREADS=1 $(PYTHON) -m pytest tests/web

.PHONY: lint
lint: $(ENVIRONMENT) ## Check style, formatting and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

.PHONY: docs
docs: $(ENVIRONMENT) ## Build a site from the pages, in build/docs; needs the extra `docs`
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet --config-file .mkdocs/mkdocs.yml
	@echo "build/docs/index.html; for the search, run python -m http.server --bind 127.0.0.1 --directory build/docs"

.PHONY: install
install: $(ENVIRONMENT) ## Only create or repair the environment

# The order matters, since Detectron2's installer needs torch. pip does not reinstall packages that are complete.
$(STAMP): setup.py tools/install_detectron2.py tools/detectron2_release/sources.py
	@rm -f $@
	@$(BASE_PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	    f"$(BASE_PYTHON) is Python {sys.version.split()[0]}; wanted 3.11 or newer, set by BASE_PYTHON=...")'
	@$(VENV_PYTHON) -m pip --version >/dev/null 2>&1 || $(BASE_PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV). torch needs about 5 GB."
	$(VENV_PYTHON) -m pip install torch torchvision
	$(VENV_PYTHON) tools/install_detectron2.py --skip-if-present
	$(VENV_PYTHON) -m pip install --editable '.[dev]'
	@$(VENV_PYTHON) -W ignore -c 'import torchvision, timm, cv2, scipy, detectron2.engine' \
	    || { echo "$(VENV) is damaged: run 'make clean-env', then make again" >&2; exit 1; }
	@touch $@

.PHONY: clean
clean: ## Remove caches and files of the build; data, outputs and .venv are kept
	rm -rf build dist projects/*.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name $(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

.PHONY: clean-env
clean-env: ## Remove the environment in .venv
	rm -rf $(VENV)
