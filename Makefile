# Everything runs in .venv, made from the locked and hashed requirements.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo serve test check format bench docs lock image chart clean

demo: $(VENV)/.run
	$(BIN)/tidegate demo

serve: $(VENV)/.run
	$(BIN)/tidegate serve

# Three at a time: much of a test's time is waiting for processes to start and end.
test: check
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Figures, not checks: ratios within one run, for machines are shared and noisy.
bench: $(VENV)/.dev
	for file in benchmarks/lookup.py benchmarks/fold.py benchmarks/cost.py benchmarks/parse.py benchmarks/ingest.py; do $(BIN)/python $$file || exit 1; done

# The pages are written by hand; this holds them against the code, and runs the tutorial.
docs: $(VENV)/.dev
	$(BIN)/python -m pytest tests/test_docs.py

# Needs buildah, or another builder of Dockerfiles given as BUILDER.
BUILDER ?= buildah bud --format docker
image:
	$(BUILDER) --tag tidegate .

chart: $(VENV)/.dev
	mkdir -p dist
	$(BIN)/python -c "import helm_python; helm_python.package('helm/tidegate', destination='dist')"

lock: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet \
		--custom-compile-command "make lock" --extra build --extra kubernetes --extra s3 --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet \
		--custom-compile-command "make lock" --extra dev --output-file requirements-dev.lock pyproject.toml

# The two stamps: what running needs, and what developing needs on top of it. The locks are complete, so pip
# resolves nothing (--no-deps); with resolving it stumbles over the extra in evidently's pandas[parquet].
$(VENV)/.run: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes --requirement requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
