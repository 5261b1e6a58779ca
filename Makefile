# Two commands do everything on a fresh machine:
#   make demo   install what is needed and run the main job (headless where there is no display)
#   make test   install what is needed and run linters, types, import rules and all tests

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OUT    ?= out
N      ?= 5000
SEED   ?= 1

# Off-screen windows: a display of our own, unless there is one.
WINDOW := $(if $(DISPLAY)$(WAYLAND_DISPLAY),,xvfb-run -a -s "-screen 0 1366x768x24")

.DEFAULT_GOAL := help
.PHONY: help demo test lint benchmark fuzz train clean system

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

system: ## Install the system libraries that Qt and OpenGL need (Debian/Ubuntu), or say how
	@sh .ci/system-libraries

$(READY): pyproject.toml .ci/system-libraries
	@sh .ci/system-libraries
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary -e ".[all,test]"
	@touch $@

demo: $(READY) ## Run the main job on the sample study; report and screenshots in out/demo
	$(WINDOW) $(BIN)/napari-clipmed demo $(if $(DISPLAY)$(WAYLAND_DISPLAY),,--headless) --out $(OUT)/demo

lint: $(READY) ## ruff, mypy and the import contract
	$(BIN)/ruff check napari_clipmed tests
	$(BIN)/ruff format --check napari_clipmed tests
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## Everything that must be true before a change lands
	OMP_NUM_THREADS=1 $(WINDOW) $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

benchmark: $(READY) ## Longer runs: test-set figures of the shipped models, timings
	$(BIN)/napari-clipmed phantom dsa --n 600 --seed 20260101 --out $(OUT)/benchmark/dsa --format npz
	$(BIN)/napari-clipmed evaluate clip-dsa --data $(OUT)/benchmark/dsa --split test --json

fuzz: $(READY) ## Damage N files at random (SEED=…) and read each in a guarded child; fails if one is not a study or a sentence
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/fuzz/fuzz.py --n $(N) --seed $(SEED) --save $(OUT)/fuzz

clean: ## Remove what was built, never what a person made
	rm -rf build dist $(OUT) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
