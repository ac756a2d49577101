# make quickstart   from a fresh clone to runs/quickstart/report.html
# make test         style, types and tests: what a change must pass
#
# Both install into $(VENV) first; the stamp files say for which pyproject.toml that has been done.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT := runs/quickstart
REPORT := $(OUT)/report.html

.PHONY: quickstart test
.DELETE_ON_ERROR:

quickstart: $(REPORT)
	@echo "The report is $(REPORT)"

$(REPORT): | $(VENV)/.installed
	$(BIN)/lapilli quickstart --out $(OUT)

test: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest

# torch comes first, in the version for which pip finds a build for processors, without gigabytes of CUDA. With a GPU,
# make the environment yourself and install the torch that fits your driver: what is there is left alone.
$(VENV)/.torch:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2> /dev/null || $(BIN)/python -m pip install torch==2.13.0
	touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.torch
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.torch
	$(BIN)/python -m pip install --editable ".[dev]"
	touch $@
