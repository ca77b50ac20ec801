# LLM Zoo: everything a person does with a checkout. `make` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
MODEL ?= demo
# Empty: PyPI's torch. https://…/whl/cpu or /whl/cu130 of PyTorch's own index chooses a build.
TORCH_INDEX_URL ?=
# Options for `llmzoo up`, such as ARGS="--workers 2".
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --progress-bar on -c constraints.txt --build-constraint constraints.txt \
	$(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL))

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: up
up: $(VENV)/.ready ## Install, fetch the model once, start every service; Ctrl-C stops
	@$(BIN)/python -m services.worker.models add $(MODEL) >/dev/null
	@exec $(BIN)/llmzoo up --model $(MODEL) $(ARGS)

.PHONY: down
down: ## Stop what `make up` started
	@if [ -x $(BIN)/llmzoo ]; then $(BIN)/llmzoo down; else echo "Nothing is installed, so nothing runs."; fi

.PHONY: test
test: $(VENV)/.ready-dev ## Run all tests, or those that ARGS names
ifeq ($(strip $(ARGS)),)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/unit
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile tests/integration
	@$(BIN)/python -m pytest tests/e2e
else
	@$(BIN)/python -m pytest $(ARGS)
endif

.PHONY: test-long
test-long: $(VENV)/.ready-dev ## Run the tests that take minutes
	@$(BIN)/python -m pytest tests/integration/long_*.py tests/integration/*/long_*.py tests/e2e/long_*.py

.PHONY: e2e-compose
e2e-compose: $(VENV)/.ready-dev ## Build, bring up, use and disturb docker-compose.yml (needs Docker)
	@$(BIN)/python -m pytest tests/compose --timeout 1800 $(ARGS)

.PHONY: check
check: $(VENV)/.ready-dev ## Lint, types, import rules, configuration files
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@$(BIN)/compose-lint --quiet --fail-on low --skip-suppressed docker-compose.yml
	@$(BIN)/hadolint deploy/Dockerfile Dockerfile.gpu
	@if command -v promtool >/dev/null; then cd deploy/prometheus && promtool check config --syntax-only prometheus.yml \
	&& promtool check rules rules/*.yml && promtool test rules tests/*.yml; \
	else echo "skipped: promtool is not installed (Debian package: prometheus)"; fi

.PHONY: format
format: $(VENV)/.ready-dev ## Format the code and mend what can be mended
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

.PHONY: docs
docs: $(VENV)/.ready ## Write README's configuration table from the settings
	@$(BIN)/python -m shared.settings_table README.md

.PHONY: dashboards
dashboards: $(VENV)/.ready ## Write Grafana's dashboards from deploy/grafana/boards
	@$(BIN)/python -m deploy.grafana

.PHONY: bench
bench: $(VENV)/.ready ## Measure a running zoo (`make up` in another shell)
	@$(BIN)/llmzoo bench serve $(ARGS)

.PHONY: constraints
constraints: $(VENV)/.ready-dev ## Write constraints.txt from what is installed
	@{ sed -n '/^#/p' constraints.txt; $(PIP) freeze --all --exclude-editable --exclude wheel \
	| sed 's/^torch==\([0-9.]*\).*/torch==\1/'; } > constraints.txt.new && mv constraints.txt.new constraints.txt

.PHONY: debian
debian:
	@command -v git >/dev/null || { echo "git is missing: apt-get install git"; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V); try make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	|| { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }

$(BIN)/python: | debian
	@echo "Making $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt pip

$(VENV)/.ready: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing LLM Zoo and its dependencies into $(VENV) (once, one to two minutes) …"
	@$(INSTALL) -e '.[all]'
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "Installing what the checks and tests need …"
	@$(INSTALL) -e '.[all,dev]'
	@touch $@
