# One command a purpose; each first puts what it needs into the checkout (.tools, .venv) and says so.
# Nothing is installed outside it; models go where `caseprep` keeps them. Needs Python 3.11 to 3.13, make and a C compiler.

PYTHON ?= python3
UV := .tools/uv/bin/uv
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
# one thread for each library's own pool: two cores shared by several pools are slower than one each
export OMP_NUM_THREADS ?= 1
export DAGSTER_DISABLE_TELEMETRY := 1
# where this is set, as in many containers, each of the hundreds of processes of a test run compiles all that it imports
unexport PYTHONDONTWRITEBYTECODE
export PYANNOTE_METRICS_ENABLED := 0

MODELS := from caseprep_pipelines.settings import read_settings; print(read_settings().models_directory)

.PHONY: help demo test dev lint format lock image-packages schemas bench deploy-check clean

help:
	@echo 'make demo    fetch the starter models and run the whole graph on the demo recordings'
	@echo 'make dev     open the Dagster UI on http://localhost:3000 with a demo archive'
	@echo 'make test    run the tests'
	@echo 'make lint    check style, types and the direction of imports'
	@echo 'make bench   run all benchmarks and rewrite benchmarks/RESULTS.md'
	@echo 'make deploy-check  check images, manifests and what docs/operations.md says'
	@echo 'make lock    resolve the dependencies again into requirements.lock'

$(UV):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python 3.11, 3.12 or 3.13 is needed, this is {v[0]}.{v[1]}; say make PYTHON=python3.12")'
	@echo '==> Putting uv, the package installer, into .tools'
	@$(PYTHON) -m venv .tools/uv
	@.tools/uv/bin/pip install --quiet --disable-pip-version-check uv

.venv/.installed: requirements.lock pyproject.toml | $(UV)
	@echo '==> Installing the locked packages into .venv (several GB the first time)'
	@test -x $(BIN)/python || $(UV) venv --quiet --python $$(command -v $(PYTHON)) .venv
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: .venv/.installed
	@echo '==> caseprep models fetch starter'
	@$(BIN)/caseprep models fetch starter || echo '==> Going on with the small demo models that ship with the project'
	@echo '==> caseprep demo --out out/demo'
	@$(BIN)/caseprep demo --out out/demo

test: .venv/.installed .tools/checks/.installed
	@echo '==> Getting the starter models, for the tests with real speech'
	@$(BIN)/caseprep models fetch starter >/dev/null || echo '==> Those tests are skipped'
	@echo '==> Running the tests'
	@STARTER_MODELS_DIRECTORY="$$($(BIN)/python -c '$(MODELS)')" $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder

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
	@$(UV) pip compile pyproject.toml --extra speech --extra postgres --extra evaluate --group dev --universal --generate-hashes \
		--no-annotate --no-header --upgrade --output-file requirements.lock --quiet
	@$(MAKE) --no-print-directory image-packages
	@$(UV) pip compile deploy/docker/tools.in --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-header --upgrade \
		--output-file deploy/docker/tools.lock --quiet
	@$(UV) pip compile deploy/checks/requirements.in --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --upgrade --output-file deploy/checks/requirements.lock --quiet

# the names of what each image holds; the versions stay those of requirements.lock
image-packages: $(UV)
	@for image in 'slim --extra postgres' 'speech --extra postgres --extra speech'; do \
		set -- $$image; name=$$1; shift; \
		cp requirements.lock .tools/$$name.lock; \
		$(UV) pip compile pyproject.toml $$@ --universal --no-annotate --no-header --output-file .tools/$$name.lock --quiet; \
		sed 's/==.*//' .tools/$$name.lock > deploy/docker/$$name.txt; \
	done

# checkov holds its libraries at versions of its own, so it has an environment of its own
.tools/checks/.installed: deploy/checks/requirements.lock | $(UV)
	@echo '==> Installing checkov into .tools/checks'
	@$(UV) venv --quiet --clear --python $$(command -v $(PYTHON)) .tools/checks
	@$(UV) pip install --quiet --python .tools/checks/bin/python --require-hashes --requirement deploy/checks/requirements.lock
	@touch $@

deploy-check: .venv/.installed .tools/checks/.installed
	@$(BIN)/python -m pytest caseprep_pipelines_tests/deploy

schemas: .venv/.installed
	@$(BIN)/python -m caseprep_pipelines.transcript.schemas docs/schemas

clean:
	rm -rf .venv .tools out build dist
