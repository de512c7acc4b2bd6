# Needs make and Python >= 3.11 with venv; everything else goes into .venv.
#   make bids    bids for one day (DATE=2023-08-15)      make test    set-up and tests
#   make check   all that must be green before a push    make dev     Dagster on http://localhost:3000, desk on :3001
#   make test-unit  functions and small days alone      make test-all  the slow tests as well
#   make fuzz    the property tests with new random cases   make hostile  attacks from outside, and what got through
#   make torture, powerloss: kills and damaged files in numbers that tests do not have time for
#   make storage-attacks  awards at storage resources, every owner's limits counted (ARGS="--awards 200")
#   make fuzz-days  random days through the command line (FUZZ_ARGS="--days 20 --seed 7")
#   make test-legacy  the language model's other adapter, in an environment of its own
#   make screen  the warehouse in an SQL screen (Harlequin), in an environment of its own
#   make test-browser  Dagster's pages, desk and report in Chromium   make screenshots  the README's pictures of them
#   make cluster  what several machines need, in an environment of its own   make cluster-test  its tests
#   (cluster-test-short: what continuous integration runs of them)
#   make compose-check  whether deploy/compose.yaml can work, without a container engine
#   make compare what became slower or faster, against the stored ratios or AGAINST=main~5
#   make bench   the optimiser's benchmark, into docs/benchmarks.md (BENCH_ARGS="--only 1 2": some rows)

PYTHON ?= python3
DATE ?= 2023-08-15
PYTEST_ARGS ?=
FUZZ_ARGS ?= --days 300 --seed 1
AGAINST ?=
BENCH_ARGS ?=
ARGS ?=
# modules are compiled when they are first imported, most of them never
PIP_INSTALL := pip install --quiet --disable-pip-version-check --no-compile

# Tools run as modules or from .venv/bin by relative path, so that the folder's own path may contain spaces.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK_EXTRAS := --extra ui --extra gemini --extra solar --extra dev

.DEFAULT_GOAL := bids
.PHONY: bids cluster cluster-test cluster-test-short compose-check environments screen screenshots setup test test-unit test-all test-browser test-legacy bench compare lint check format dev lock clean fuzz fuzz-days torture powerloss hostile

bids: $(STAMP)
	$(BIN)/python -m vpp_pipeline bids --date $(DATE)

# with the kernels of large fleets compiled, so that no first run waits for them
setup: $(STAMP)
	$(BIN)/python -m vpp_pipeline warm-up

# hatchling is in the lock: the editable install needs no build isolation and fetches nothing more
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "vpp-pipeline needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "Python's venv module did not work; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m $(PIP_INSTALL) --require-hashes -r requirements.lock
	$(BIN)/python -m $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

# without the tests marked slow and with an eighth of the drawn cases: the others are in `make test-all`; files in the order
# of conftest.py, whole days first
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# of as many processes as there are cores each needs one thread
ONE_THREAD := OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1
test: $(STAMP)
	$(ONE_THREAD) $(BIN)/python -m pytest -m "not slow and not browser and not cluster" $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test-unit: $(STAMP)
	$(ONE_THREAD) $(BIN)/python -m pytest -m "unit and not slow" $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test-all: $(STAMP)
	$(ONE_THREAD) $(BIN)/python -m pytest -m "not browser and not cluster" $(SIDE_BY_SIDE) $(PYTEST_ARGS)

# Dagster's pages and the report in the system's Chromium, which Playwright drives and never downloads
BROWSER_STAMP := $(VENV)/.browser
test-browser: $(STAMP) $(BROWSER_STAMP)
	$(BIN)/python -m pytest -m browser vpp_pipeline_tests/browser $(PYTEST_ARGS)

screenshots: $(STAMP) $(BROWSER_STAMP)
	$(BIN)/python -m vpp_pipeline_tests.browser.screenshots

$(BROWSER_STAMP): $(STAMP) requirements-browser.lock
	$(BIN)/python -m $(PIP_INSTALL) --require-hashes -r requirements-browser.lock
	@touch $(BROWSER_STAMP)

# google-generativeai forces protobuf back to 5, where the rest of the lock wants 6
LEGACY := .venv-legacy
LEGACY_STAMP := $(LEGACY)/.installed
test-legacy: $(LEGACY_STAMP)
	$(LEGACY)/bin/python -W ignore -c 'import google.generativeai'
	$(LEGACY)/bin/python -m pytest -m "not slow" -k google-generativeai vpp_pipeline_tests/llm $(PYTEST_ARGS)

$(LEGACY_STAMP): requirements-legacy.lock pyproject.toml
	@$(LEGACY)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(LEGACY)
	$(LEGACY)/bin/python -m $(PIP_INSTALL) --require-hashes -r requirements-legacy.lock
	$(LEGACY)/bin/python -m $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $(LEGACY_STAMP)

# thirty packages that nothing else needs
SCREEN := .venv-screen
SCREEN_STAMP := $(SCREEN)/.installed
screen: $(STAMP) $(SCREEN_STAMP)
	$(BIN)/python -m vpp_pipeline screen

$(SCREEN_STAMP): requirements-screen.lock
	@$(SCREEN)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(SCREEN)
	$(SCREEN)/bin/python -m $(PIP_INSTALL) --require-hashes -r requirements-screen.lock
	@touch $(SCREEN_STAMP)

# Ray, Postgres, and object stores: packages that no single machine needs; `--no-deps`, since pip 23 refuses a package that one
# package asks for with an extra and another without
CLUSTER := .venv-cluster
CLUSTER_STAMP := $(CLUSTER)/.installed
CLUSTER_TEST_STAMP := $(CLUSTER)/.tests
cluster: $(CLUSTER_STAMP)

cluster-test: $(CLUSTER_TEST_STAMP)
	$(CLUSTER)/bin/python -m pytest -m cluster vpp_pipeline_tests/cluster $(PYTEST_ARGS)

# a day in shards, in parts, on two nodes, and on an object store, with nothing killed
cluster-test-short: $(CLUSTER_TEST_STAMP)
	$(CLUSTER)/bin/python -m pytest -m cluster -k 'whole or parts_on_a_cluster or commit_one_day_at_once' vpp_pipeline_tests/cluster $(PYTEST_ARGS)

# what tests need beside .venv
environments: $(LEGACY_STAMP) $(CLUSTER_TEST_STAMP)

compose-check: $(STAMP)
	$(BIN)/python deploy/check.py

$(CLUSTER_STAMP): requirements-cluster.lock pyproject.toml
	@$(CLUSTER)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(CLUSTER)
	$(CLUSTER)/bin/python -m $(PIP_INSTALL) --no-deps --require-hashes -r requirements-cluster.lock
	$(CLUSTER)/bin/python -m $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $(CLUSTER_STAMP)

$(CLUSTER_TEST_STAMP): $(CLUSTER_STAMP) requirements-cluster-test.lock
	$(CLUSTER)/bin/python -m $(PIP_INSTALL) --no-deps --require-hashes -r requirements-cluster-test.lock
	@touch $(CLUSTER_TEST_STAMP)

# other programs in an environment of their own: energy-py-linear asks for numpy 1, Python < 3.13
COMPARISON := .venv-comparison
COMPARISON_BASE ?= $(PYTHON)
COMPARISON_STAMP := $(COMPARISON)/.installed
bench: $(STAMP)
	@$(MAKE) --no-print-directory $(COMPARISON_STAMP) || { rm -rf $(COMPARISON); \
	  echo "other programs are left out: they could not be installed" >&2; }
	$(BIN)/python benchmarks/bench_optimiser.py --write docs/benchmarks.md $(BENCH_ARGS)

$(COMPARISON_STAMP): benchmarks/comparison.txt
	@$(COMPARISON)/bin/python -m pip --version >/dev/null 2>&1 || $(COMPARISON_BASE) -m venv --clear $(COMPARISON)
	$(COMPARISON)/bin/python -m $(PIP_INSTALL) -r benchmarks/comparison.txt
	@touch $(COMPARISON_STAMP)

# ratios of CPU seconds, which nothing asserts
compare: $(STAMP)
	$(BIN)/python benchmarks/compare_commits.py $(if $(AGAINST),--against $(AGAINST))

lint: $(STAMP)
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

check: lint test

# a failing case prints how to repeat it
fuzz: $(STAMP)
	$(BIN)/python -m pytest --hypothesis-profile=default vpp_pipeline_tests/core vpp_pipeline_tests/market vpp_pipeline_tests/forecasting vpp_pipeline_tests/fleet vpp_pipeline_tests/negotiation vpp_pipeline_tests/dispatch vpp_pipeline_tests/bidding vpp_pipeline_tests/verification vpp_pipeline_tests/evaluation $(PYTEST_ARGS)

# each prints its figures, and fails where a promise of docs/guarantees.md is broken
torture: $(STAMP)
	$(BIN)/python -m vpp_pipeline_tests.robustness.torture $(ARGS)

powerloss: $(STAMP)
	$(BIN)/python -m vpp_pipeline_tests.robustness.powerloss $(ARGS)

storage-attacks: $(STAMP)
	$(BIN)/python -m vpp_pipeline_tests.aggregation.attacks $(ARGS)

# a day that fails stays in fuzzed_days/, to be run again
fuzz-days: $(STAMP)
	$(BIN)/python -m vpp_pipeline_tests.robustness.fuzz_days $(FUZZ_ARGS)

format: $(STAMP)
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

# Dagster's pages of the data folder, whose history is in data/dagster, and the desk; only this machine may reach them, and only this
# user may read the history
dev: $(STAMP)
	$(BIN)/python -m vpp_pipeline dev

# what tries to get in from outside, and what of it got through (ARGS=--quick: few cases, no Dagster)
hostile: $(STAMP)
	$(BIN)/python -W ignore -m vpp_pipeline_tests.robustness.hostile $(ARGS)

# runtime, ui, gemini, solar and dev, with hashes; for one test alone, google-generativeai with what goes with it; the SQL
# screen; several machines
lock: $(STAMP)
	$(BIN)/python -m $(PIP_INSTALL) 'uv>=0.9'
	$(BIN)/python -m uv pip compile pyproject.toml --output-file requirements.lock --quiet \
	  --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-strip-extras --custom-compile-command "make lock" $(LOCK_EXTRAS) $(LOCK_ARGS)
	$(BIN)/python -m uv pip compile pyproject.toml --output-file requirements-legacy.lock --quiet \
	  --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
	  --no-strip-extras --custom-compile-command "make lock" --extra gemini-legacy --extra dev $(LOCK_ARGS)
	{ echo 'harlequin>=2.10'; sed -n 's/^\(duckdb==[^ ]*\).*/\1/p' requirements.lock; } | \
	$(BIN)/python -m uv pip compile - --output-file requirements-screen.lock --quiet \
	  --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
	  --no-strip-extras --custom-compile-command "make lock" $(LOCK_ARGS)
	$(BIN)/python -m uv pip compile pyproject.toml --constraint requirements.lock --output-file requirements-cluster.lock --quiet \
	  --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
	  --strip-extras --custom-compile-command "make lock" $(LOCK_EXTRAS) --extra cluster $(LOCK_ARGS)
	printf 'moto[server]>=5\n' | \
	$(BIN)/python -m uv pip compile - --constraint requirements-cluster.lock --output-file requirements-cluster-test.lock --quiet \
	  --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
	  --no-strip-extras --custom-compile-command "make lock" $(LOCK_ARGS)
	printf 'axe-playwright-python>=0.1.8\nplaywright>=1.49\n' | \
	$(BIN)/python -m uv pip compile - --constraint requirements.lock --output-file requirements-browser.lock --quiet \
	  --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
	  --no-strip-extras --custom-compile-command "make lock" $(LOCK_ARGS)

clean:
	rm -rf $(VENV) $(COMPARISON) $(LEGACY) $(SCREEN) $(CLUSTER) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .tmp_dagster_home_*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
