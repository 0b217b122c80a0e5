# Everything a contributor runs. `make help` lists it; nothing is needed but make and Python 3.11 or newer.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,$(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
PYTEST := $(BIN)/python -m pytest

# the versions that were tested; make LOCK= takes the newest that pyproject.toml allows
LOCK := requirements.lock
# uv where it is installed, else venv and pip
INSTALL = $(if $(shell command -v uv),uv pip install --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off) $(LOCK:%=-c %)
# What it says, as it comes: what is fetched, how large it is, and what went wrong. The target is there when it succeeded, and only then.
SHOWN = while IFS= read -r line; do case "$$line" in *Downloading\ *) echo "  $${line\#*Downloading }";; Installing\ collected*) echo "  unpacking";; Resolved*|Prepared*|Installed*|*rror*) echo "$$line";; esac; done

# What an install depends on: the native core is built by it.
SOURCES := pyproject.toml hatch_build.py $(wildcard core/Cargo.* core/src/*.rs)

.DEFAULT_GOAL := help
.PHONY: help demo dashboard test check slow bench docs golden lock wheel core clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.demo ## import sample-logs/ and answer who deleted a pod
	@rm -rf build/demo-lake
	@$(BIN)/auditlens demo --lake build/demo-lake

dashboard: $(VENV)/.dashboard ## open the dashboard on the sample logs
	@test -d build/demo-lake || $(BIN)/auditlens demo --lake build/demo-lake > /dev/null
	@$(BIN)/auditlens dashboard --lake build/demo-lake

test: $(VENV)/.test ## the tests, on all cores, without those marked slow or browser
	$(PYTEST) -n auto -m "not slow and not browser"

check: $(VENV)/.test ## what must pass before a commit: style, types, floors, docs, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(MAKE) --no-print-directory test

slow: $(VENV)/.test ## the tests that take minutes: kills, races, packaging, browsers
	$(PYTEST) -m "slow or browser"

bench: $(VENV)/.test ## the benchmarks; BENCH="bench/import.py" for one; writes docs/speed.md
	$(BIN)/python docs/generate.py --bench $(BENCH)

docs: $(VENV)/.test ## rewrite what is generated in README.md and docs/: tables, lists, the output of commands
	$(BIN)/python docs/generate.py

golden: $(VENV)/.test ## rewrite the expected answers under tests/; read the diff
	GOLDEN=1 $(PYTEST) -n auto -m "not slow and not browser" -k golden

lock: $(BIN)/python ## write requirements.lock: the newest versions that pyproject.toml allows; run the tests after it
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip compile -q --universal --upgrade --python-version 3.11 --all-extras --no-annotate \
		--custom-compile-command "make lock" -o requirements.lock pyproject.toml

wheel: $(BIN)/python ## dist/: a wheel for this platform; with cargo it holds the native core
	$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w dist .

core: ## test the native core; needs cargo
	cargo test --quiet --manifest-path core/Cargo.toml

clean: ## remove the environment, caches and build products
	rm -rf $(VENV) build dist core/target auditlens/_core.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "auditlens needs Python 3.11 or newer; none was found (make PYTHON=/path/to/python3)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(SOURCES) $(LOCK) | $(BIN)/python
	@rm -f $@
	@echo "installing auditlens and what it needs into $(VENV), once: about 220 MB to fetch, 700 MB on disk"
	@{ $(INSTALL) -e . 2>&1 && touch $@; } | $(SHOWN)
	@test -e $@

$(VENV)/.dashboard: $(SOURCES) $(LOCK) | $(BIN)/python
	@rm -f $@
	@echo "installing auditlens with its dashboard into $(VENV), once"
	@{ $(INSTALL) -e '.[dashboard]' 2>&1 && touch $@ $(VENV)/.demo; } | $(SHOWN)
	@test -e $@

$(VENV)/.test: $(SOURCES) $(LOCK) | $(BIN)/python
	@rm -f $@
	@echo "installing auditlens with all its parts and the tools of its tests into $(VENV), once"
	@{ $(INSTALL) -e '.[test]' 2>&1 && touch $@ $(VENV)/.demo $(VENV)/.dashboard; } | $(SHOWN)
	@test -e $@
