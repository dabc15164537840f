# Everything runs in this clone's .venv; `make run` and `make test` create it if it is missing.

VENV := .venv
PYTHON := $(VENV)/bin/python
# Looks for Python 3.10: $PYTHON310, on the path, pyenv's, /usr/local.
FIND_PYTHON = for python in "$$PYTHON310" python3.10 "$$HOME"/.pyenv/versions/3.10*/bin/python \
	/usr/local/bin/python3.10; do \
	"$$python" -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null \
	&& { echo "$$python"; break; }; done

.DEFAULT_GOAL := help
.PHONY: help setup run page test test-fast fuzz campaign lint format lock images clean clean-workdir

help:
	@echo "make run        run the whole pipeline on the embedded demo"
	@echo "make page       install what the camera page needs at run time (needs npm)"
	@echo "make test       run all tests"
	@echo "make test-fast  run all but the slow tests"
	@echo "make fuzz       read broken data of every format: [CASES=1000] [SEED=1]"
	@echo "make campaign   kill, damage, move and question real runs: [MINUTES=20] [SEED=1]"
	@echo "make lint       check style (ruff) and the directions of imports (import-linter)"
	@echo "make format     format the code (ruff)"
	@echo "make setup      only create the environment, in $(VENV); the others do so if it is missing"
	@echo "make images     build the images for Vertex AI with Cloud Build: see docs/production.md"
	@echo "make lock       resolve the dependencies into the lock files (needs uv)"
	@echo "make clean-workdir  list what no pushed or blessed model and no recent run needs; with"
	@echo "                FLAGS=--remove, remove it. FLAGS=--help shows the rest"
	@echo "make clean      remove the environment and all caches"

setup: $(VENV)/.installed

# The lock is complete and hashed: pip resolves nothing, and installs only what matches.
$(VENV)/.installed: requirements.lock
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
		echo "error: Python 3.10 not found. Install it, for example with: pyenv install 3.10;" \
			"or pass its path: make PYTHON310=/path/to/python3.10 ..." >&2; exit 1; \
	fi; \
	echo "setting up $(VENV) with $$($$python --version); this takes a few minutes, once"; \
	$$python -m venv --clear $(VENV) && \
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r requirements.lock > $(VENV)/install.log 2>&1 || \
	{ tail -n 20 $(VENV)/install.log >&2; \
		echo "error: the installation failed; the log is $(VENV)/install.log" >&2; exit 1; }
	@touch $@

run: setup
	@$(PYTHON) local_runner.py

# npm installs the versions and hashes of the lock file, or nothing.
APP := pipeline/app
page: $(APP)/node_modules/.package-lock.json
$(APP)/node_modules/.package-lock.json: $(APP)/package.json $(APP)/package-lock.json
	@command -v npm > /dev/null || { echo "error: npm not found. Install Node.js 18 or newer with" \
		"npm, for example with: apt-get install nodejs npm" >&2; exit 1; }
	@log=$$(npm ci --prefix $(APP) --ignore-scripts --no-audit --no-fund --fetch-retries=1 \
		--fetch-retry-mintimeout=2000 --loglevel=error 2>&1) || \
	{ echo "error: npm could not install the page's runtime:" $$(echo "$$log" | sed 's|^npm error||' | head -n 4) \
		"Check that the npm registry is within reach (npm ping), and run make page again." >&2; \
		exit 1; }
	@touch $@

test: setup
	@$(PYTHON) -m pytest

test-fast: setup
	@$(PYTHON) -m pytest -m "not slow"

SEED := 1
CASES := 1000
fuzz: setup
	@$(PYTHON) -m tests.fuzz --seed $(SEED) --cases $(CASES)

MINUTES := 20
campaign: setup
	@$(PYTHON) -m tests.campaign --minutes $(MINUTES) --seed $(SEED)

lint: setup
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(VENV)/bin/lint-imports --no-logo

format: setup
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

LOCK := uv pip compile pyproject.toml --generate-hashes --python-version 3.10 --no-header --quiet
lock:
	$(LOCK) --all-extras --output-file requirements.lock
	$(LOCK) --constraint requirements.lock --no-annotate --output-file requirements-images.lock

# The tag is for people: it may move, so runs use the digests printed at the end.
TRAINER := tpu-trainer
images:
	@test -n "$(REPOSITORY)" || { echo "error: name the repository of the images:" \
		"make images REPOSITORY=REGION-docker.pkg.dev/PROJECT/detector [TRAINER=gpu-trainer]" >&2; \
		exit 2; }
	@code=$$(python3 -c "from pipeline.fingerprint import code_fingerprint as code; \
		print(code('pipeline.pipeline'))") && \
	gcloud builds submit --config cloudbuild.yaml --substitutions \
		_REPOSITORY=$(REPOSITORY),_TRAINER=$(TRAINER),_CODE_FINGERPRINT=$$code . && \
	digest() { gcloud artifacts docker images describe "$(REPOSITORY)/$$1:$$code" \
		--format "value(image_summary.fully_qualified_digest)"; } && \
	pipeline=$$(digest pipeline) && trainer=$$(digest $(TRAINER)) && \
	echo "--pipeline-image $$pipeline" && echo "--trainer-image $$trainer"

clean-workdir: setup
	@$(PYTHON) -m pipeline.local.cleanup $(FLAGS)

clean:
	rm -rf $(VENV) .keras .tmp .pytest_cache .ruff_cache .import_linter_cache
