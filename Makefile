# One command a purpose; each first puts what it needs into the checkout (.tools, .venv) and says so.
# Nothing is installed outside it. Needs Python 3.11 to 3.13, make and a C compiler.

PYTHON ?= python3
UV := .tools/uv/bin/uv
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
# one thread for each library's own pool: two cores shared by several pools are slower than one each
export OMP_NUM_THREADS ?= 1
export DAGSTER_DISABLE_TELEMETRY := 1
export PYANNOTE_METRICS_ENABLED := 0

.PHONY: help demo test dev lint format lock schemas bench clean

help:
	@echo 'make demo    run the whole graph on the recordings that ship with the project'
	@echo 'make dev     open the Dagster UI on http://localhost:3000 with a demo archive'
	@echo 'make test    run the tests'
	@echo 'make lint    check style, types and the direction of imports'
	@echo 'make bench   run all benchmarks and rewrite benchmarks/RESULTS.md'
	@echo 'make lock    resolve the dependencies again into requirements.lock'

$(UV):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python 3.11, 3.12 or 3.13 is needed, this is {v[0]}.{v[1]}; say make PYTHON=python3.12")'
	@echo '==> Putting uv, the package installer, into .tools'
	@$(PYTHON) -m venv .tools/uv
	@.tools/uv/bin/pip install --quiet --disable-pip-version-check uv

.venv/.installed: requirements.lock pyproject.toml | $(UV)
	@echo '==> Installing the locked packages into .venv (several GB the first time)'
	@test -x $(BIN)/python || $(UV) venv --quiet --python $$(command -v $(PYTHON)) .venv
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: .venv/.installed
	@echo '==> caseprep demo --out out/demo'
	@$(BIN)/caseprep demo --out out/demo

test: .venv/.installed
	@echo '==> Running the tests'
	@$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

lint: .venv/.installed
	@echo '==> ruff, mypy, import rules'
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/.installed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

dev: .venv/.installed
	@$(BIN)/python -m caseprep_pipelines.dev

bench: .venv/.installed
	@$(BIN)/python -m benchmarks

lock: $(UV)
	@$(UV) pip compile pyproject.toml --extra speech --extra postgres --group dev --universal --generate-hashes \
		--no-annotate --no-header --upgrade --output-file requirements.lock --quiet

schemas: .venv/.installed
	@$(BIN)/python -m caseprep_pipelines.transcript.schemas docs/schemas

clean:
	rm -rf .venv .tools out build dist
