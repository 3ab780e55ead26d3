# PYTHON: the Python (>= 3.11) that makes the environment. WORKERS: test processes, each with emulators of its own: one
# more than a small machine has cores, as tests of the emulator often wait.
# UPGRADE=--upgrade: `make requirements` takes the newest versions instead of keeping those that are pinned.
PYTHON ?= python3
WORKERS ?= 3
UPGRADE ?=
# ONLY="cold api": parts of `make bench`.
# AUDIT=skip: `make check` where there is no network; it says what was not audited.
ONLY ?=
AUDIT ?=

BIN := .venv/bin
# Each stamp is written last, so an installation that was cut off is done again.
RUN := .venv/.installed
DEV := .venv/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-input --no-compile
OFFLINE := echo "the packages were not installed (see above). Without a network or behind a proxy: set HTTPS_PROXY, or \
	PIP_INDEX_URL to a mirror of your own, and run make again" >&2
# On all cores, where pip uses one; and not left to the first import, which is not allowed to everywhere.
BYTECODE := $(BIN)/python -m compileall -qq --workers 0 .venv/lib
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --annotation-style line $(UPGRADE)

REQUIREMENTS := handlers/requirements.txt requirements.txt requirements-console.txt requirements-dev.txt requirements-docs.txt \
	requirements-peers.txt
SITE_TOOLS := .build/docs/.installed
PEERS := .build/peers/.installed
SBOM := .build/sbom.cdx.json

.DEFAULT_GOAL := help
.PHONY: help environment dev run test quick simulate drill gameday engine check secrets audit sbom bench bench-console bench-plan docs peers pictures format generate layer requirements clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

environment: $(RUN) ## .venv with what the program and the command need (the targets below make it themselves)

dev: $(DEV) ## .venv with pytest and the tools for checks, too

run: $(RUN) ## the pipeline on this machine, with sample events on their way to their stored results
	@$(BIN)/pipeline demo

test: $(DEV) ## all tests
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile

check: $(DEV) ## format, lint, types, who may import whom, secrets, known vulnerabilities (AUDIT=skip: without these)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory secrets audit

secrets: $(DEV) ## secrets in the files that git knows; one that is none says so: "pragma: allowlist secret"
	@git ls-files --error-unmatch . > /dev/null || { echo "NOT LOOKED FOR SECRETS (see above)" >&2; exit 1; }
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --no-verify $(addprefix --exclude-files ,$(REQUIREMENTS:%='^%$$'))

# --strict: a package that the vulnerability service does not answer for is an error, not a line that nobody reads.
audit: $(DEV) ## known vulnerabilities in everything that is pinned; needs a network
ifeq ($(AUDIT),skip)
	@echo "NOT AUDITED, as AUDIT=skip says: $(REQUIREMENTS)" >&2
else
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
		$(addprefix --requirement ,$(REQUIREMENTS)) || { echo \
		"vulnerable, or NOT AUDITED (see above): $(REQUIREMENTS); without a network: make check AUDIT=skip" >&2; exit 1; }
endif

sbom: $(DEV) ## what the functions' layer is made of, CycloneDX JSON, into .build/
	@mkdir -p $(dir $(SBOM))
	@$(BIN)/cyclonedx-py requirements handlers/requirements.txt --output-reproducible --output-format JSON \
		--output-file $(SBOM)
	@echo $(SBOM)

drill: $(RUN) ## a game day: 20,000 orders, faults on and off, workers killed; then the books (five minutes)
	@$(BIN)/python -W ignore -m benchmarks.drill

gameday: $(RUN) ## incidents on a local stack: what rings and when, what is lost, doubled or shown wrongly (ten minutes)
	@$(BIN)/python -W ignore -m benchmarks.gameday

engine: $(RUN) ## every stack through Pulumi's real engine, with a recorded provider (needs the Pulumi CLI; five minutes)
	@$(BIN)/python -W ignore -m benchmarks.engine

pictures: $(DEV) ## the pictures of the docs, from real runs; screenshots where Chromium is installed (four minutes)
	@$(BIN)/python -W ignore -m benchmarks.pictures
	@$(BIN)/python -W ignore -m benchmarks.console_pictures

bench-console: $(DEV) ## the console with 100,000 events, and a page's memory at 100 events a second (fifteen minutes)
	@$(BIN)/python -W ignore -m benchmarks.console

quick: $(DEV) ## the tests that need no emulator: the loop to work in
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --ignore tests/emulator --hypothesis-profile quick

simulate: $(DEV) ## a million histories of the worker in memory (about twenty minutes)
	@POWERTOOLS_SERVICE_NAME=simulation AWS_DEFAULT_REGION=us-east-1 $(BIN)/python -W ignore -m tests.simulation.world 1000000

bench: $(DEV) $(PEERS) ## all figures of docs/performance.md, measured again and written (a quarter of an hour); ONLY="cold api" prints some
	@$(BIN)/python -W ignore -m benchmarks.bench $(ONLY)

bench-plan: $(DEV) ## a burst through a local stack, beside what `pipeline plan` simulates for it (a minute)
	@$(BIN)/python -W ignore -m benchmarks.plan

format: $(DEV) ## format, and fix what ruff can
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

generate: $(RUN) ## what is generated from the code: schemas/stack.schema.json, docs/reference
	@$(BIN)/python -W ignore -m components.config > .stack.schema.json && mv .stack.schema.json schemas/stack.schema.json
	@$(BIN)/python -W ignore -m cli.reference

docs: $(SITE_TOOLS) ## the documentation as a site, into .build/site; a broken link is an error
	@rm -rf .build/docs-source && mkdir -p .build/docs-source/schemas
	@cp -r docs $(wildcard *.md) .build/docs-source/ && cp schemas/outcome.json .build/docs-source/schemas/
	@.build/docs/bin/zensical build --strict --clean --config-file mkdocs.yml

peers: $(PEERS) ## pandas, Polars, DuckDB and others, for more tests and for bench, into .build/peers (700 MB)

layer: $(RUN) ## the functions' dependency layer, into .build/
	@$(BIN)/python -W ignore -c 'from components.layers import layer_archive; print(layer_archive())'

requirements: $(DEV) ## compile every requirements.in to its requirements.txt
	@$(COMPILE) handlers/requirements.in --output-file handlers/requirements.txt
	@$(COMPILE) requirements.in --output-file requirements.txt
	@$(COMPILE) requirements-console.in --output-file requirements-console.txt
	@$(COMPILE) requirements-dev.in --output-file requirements-dev.txt
	@$(COMPILE) requirements-docs.in --output-file requirements-docs.txt
	@$(COMPILE) requirements-peers.in --output-file requirements-peers.txt

clean: ## remove the environment and everything built
	@rm -rf .venv .build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN): requirements-console.txt requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
		"$(PYTHON) is not Python 3.11 or newer: install one and name it, as in: make run PYTHON=python3.13" >&2; exit 1; }
	@echo "Making the environment .venv: one to three minutes, most of it the download ..."
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) --require-hashes --requirement requirements-console.txt || { $(OFFLINE); exit 1; }
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(BYTECODE)
	@touch $@

$(SITE_TOOLS): requirements-docs.txt
	@echo "Making an environment for the site generator ..."
	@$(PYTHON) -m venv --clear .build/docs
	@.build/docs/bin/python -m pip --disable-pip-version-check install --quiet --no-input --require-hashes \
		--requirement requirements-docs.txt || { $(OFFLINE); exit 1; }
	@touch $@

$(PEERS): requirements-peers.txt
	@echo "Making an environment for what tests and benchmarks compare with: about a minute ..."
	@$(PYTHON) -m venv --clear .build/peers
	@.build/peers/bin/python -m pip --disable-pip-version-check install --quiet --no-input --require-hashes \
		--requirement requirements-peers.txt || { $(OFFLINE); exit 1; }
	@touch $@

$(DEV): $(RUN) requirements-dev.txt
	@echo "Adding the tools for tests and checks: about a minute ..."
	@$(PIP) --require-hashes --requirement requirements-dev.txt || { $(OFFLINE); exit 1; }
	@$(BYTECODE)
	@touch $@
