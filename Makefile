# make quickstart    from a fresh clone to runs/quickstart/report.html
# make test          style, types and tests: what a change must pass
# make test-oldest   the tests with the oldest release of every dependency that pyproject.toml allows
# make test-newest   the same with the newest: what a user gets who installs today
# make docs          write the tables that the README and docs/ have from the code
# make lock          resolve the dependencies anew, into requirements/
#
# Each installs into an environment of its own first, in $(VENV) and beside it; the stamp files say what is in there.
# quickstart and test install exact versions with hashes, from requirements/.

PYTHON ?= python3
VENV ?= .venv
OUT := runs/quickstart
REPORT := $(OUT)/report.html
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install
UV := uv==0.13.9

# torch comes first. PyTorch's own index has builds for processors, of 200 MB; on Linux the usual index has gigabytes of
# CUDA, on macOS and Windows it has processor builds too. A build that pip's own settings offer is taken before it. With
# a GPU, `make TORCH_INDEX= ...` takes what the usual index has; a torch that is in $(VENV) already is left alone.
TORCH := ==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# Two tests at a time on two cores are faster than one test on both, whose networks are tiny.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --durations 25 --durations-min 5

.PHONY: quickstart test test-oldest test-newest docs lock tests
.DELETE_ON_ERROR:

quickstart: $(REPORT)
	@echo "The report is $(REPORT)"

$(REPORT): | $(VENV)/.run
	$(BIN)/lapilli quickstart --out $(OUT)

test: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(PYTEST)

test-oldest:
	$(MAKE) tests VENV=$(VENV)-oldest SET=oldest

test-newest:
	$(MAKE) tests VENV=$(VENV)-newest SET=newest TORCH=

tests: $(VENV)/.$(SET)
	$(PYTEST)
	$(BIN)/python requirements/lock.py tested $(SET)

docs: $(VENV)/.test
	$(BIN)/python docs/generate.py

lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet $(UV) packaging
	PATH="$(abspath $(VENV)-lock/bin):$$PATH" $(VENV)-lock/bin/python requirements/lock.py lock

$(VENV)/.torch:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2> /dev/null \
	    || $(if $(TORCH),$(PIP) "torch$(TORCH)+cpu" 2> /dev/null ||) \
	       $(if $(TORCH_INDEX),$(PIP) --index-url $(TORCH_INDEX) --retries 1 "torch$(TORCH)" ||) \
	       $(PIP) "torch$(TORCH)"
	touch $@

$(VENV)/.run $(VENV)/.test $(VENV)/.oldest: $(VENV)/.%: requirements/%.txt pyproject.toml | $(VENV)/.torch
	$(PIP) --require-hashes --no-deps --requirement $<
	$(PIP) --no-build-isolation --no-deps --editable .
	$(BIN)/python -m pip check
	touch $@

# No stamp that lasts: what is newest changes from day to day.
.PHONY: $(VENV)/.newest
$(VENV)/.newest: | $(VENV)/.torch
	$(if $(TORCH_INDEX),$(PIP) --upgrade --index-url $(TORCH_INDEX) --retries 1 torch ||) $(PIP) --upgrade torch
	$(PIP) --upgrade --upgrade-strategy eager --editable ".[dev]"
