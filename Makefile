# `make` alone says what there is to make. The first target that needs it makes an environment in .venv, which is kept.
#
#   make test PYTHON=/path/to/python    use that Python, which has everything already; nothing is installed
#   make test BASE_PYTHON=python3.12    make .venv with that Python instead of python3

.DEFAULT_GOAL := help
SHELL := /bin/sh
BASE_PYTHON ?= python3
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
# Written when an installation has ended well; without it the next make installs again, keeping what is there.
STAMP := $(VENV)/.installed

# Only the command line counts: a PYTHON that happens to be in the shell's environment is not meant for us.
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
transfer: $(ENVIRONMENT) ## Pretrain a backbone for segmentation, and detect with it, on generated images
	$(PYTHON) tools/transfer.py

# One thread: on shared cores more make the tests 10 to 40 times slower. PYTHONPATH: a PYTHON of yours may lack tokenseg.
TEST = PYTHONPATH=$(CURDIR)/projects OMP_NUM_THREADS=1 $(PYTHON) -m pytest tests
.PHONY: test
test: $(ENVIRONMENT) ## Run all tests; in the end they say what the slow ones add
	$(TEST)

.PHONY: test-fast
test-fast: $(ENVIRONMENT) ## Run the tests that are not slow
	$(TEST) -m "not slow"

.PHONY: test-web
test-web: $(ENVIRONMENT) ## Open the pages of report.py and demo.py --web in a browser; wants the extra `web` and Chromium
	PYTHONPATH=$(CURDIR)/projects$${PYTHONPATH:+:$$PYTHONPATH} OMP_NUM_THREADS=1 $(PYTHON) -m pytest tests/web

.PHONY: lint
lint: $(ENVIRONMENT) ## Check style, formatting and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

.PHONY: docs
docs: $(ENVIRONMENT) ## Make a site of the pages in build/docs; wants the extra `docs`
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet --config-file .mkdocs/mkdocs.yml
	@echo "build/docs/index.html"

.PHONY: install
install: $(ENVIRONMENT) ## Make or repair the environment, nothing else

# The order matters: Detectron2's installer needs torch. pip leaves alone what is there and complete.
$(STAMP): setup.py tools/install_detectron2.py tools/detectron2_release/sources.py
	@rm -f $@
	@$(BASE_PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	    f"$(BASE_PYTHON) is Python {sys.version.split()[0]}, wanted 3.11 or newer; name one with BASE_PYTHON=...")'
	@$(VENV_PYTHON) -m pip --version >/dev/null 2>&1 || $(BASE_PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV). torch takes about 5 GB, once."
	$(VENV_PYTHON) -m pip install torch torchvision
	$(VENV_PYTHON) tools/install_detectron2.py --skip-if-present
	$(VENV_PYTHON) -m pip install --editable '.[dev]'
	@$(VENV_PYTHON) -W ignore -c 'import torchvision, timm, cv2, scipy, detectron2.engine' \
	    || { echo "$(VENV) is damaged: run 'make clean-env', then make again" >&2; exit 1; }
	@touch $@

.PHONY: clean
clean: ## Remove caches and what packaging left; data, outputs and .venv stay
	rm -rf build dist projects/*.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name $(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

.PHONY: clean-env
clean-env: ## Remove the environment in .venv
	rm -rf $(VENV)
