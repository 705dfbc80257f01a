# Every target sets up what it needs, given Python 3.11 or newer and pip. The environment is .venv, in this folder.

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
STAMP = $(VENV)/.installed

# One process for each core runs the tests; threads inside each of them would only get in each other's way.
ONE_THREAD = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
# Networks take half a gigabyte again and again: what is freed is kept, which spares the kernel a third of its work.
KEEP = MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=68719476736
# They, and those that tests start, compile each module once, even where Python is told to keep nothing of that; those
# of packages were compiled when they were installed.
PYCACHE = PYTHONDONTWRITEBYTECODE=

.PHONY: help demo test lint clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile

demo: $(STAMP) ## compile and run models end to end
	@$(BIN)/python examples/demo.py

test: $(STAMP) ## run the tests (ARGS="-k conv --bless" are passed on to pytest)
	@$(ONE_THREAD) $(KEEP) $(PYCACHE) $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

lint: $(STAMP) ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf $(VENV)/typing && mkdir -p $(VENV)/typing/graphc
	@for path in graphc/* frontends backends models; do \
		if [ -e "$$path" ]; then ln -s "../../../$$path" $(VENV)/typing/graphc/; fi; done
	cd $(VENV)/typing && ../bin/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p graphc

clean: ## remove the environment, caches and build results
	rm -rf $(VENV) build dist graphc.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "graphc needs Python 3.11 or newer; name one with: make PYTHON=python3.11" >&2; exit 1; }
	@echo "setting up $(VENV) ..."
	@test -x $(BIN)/python && $(BIN)/python -c 'import pip' 2>/dev/null \
		|| $(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 \
		|| { $(PYTHON) -m venv --clear --without-pip $(VENV) \
			&& $(PYTHON) -m pip --python $(BIN)/python install -qq pip; }
	@$(PIP) install -qq -e '.[dev]'
	@touch $(STAMP)
