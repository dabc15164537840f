# Everything runs in this clone's .venv; `make run` and `make test` create it if it is missing.

VENV := .venv
PYTHON := $(VENV)/bin/python
# The lanes: one code base for two versions of TFX, each with a lock that is complete and hashed.
#   modern  TFX 1.21, Python 3.11 to 3.13; its wheels need glibc 2.39 (Debian 13, Ubuntu 24.04)
#   older   TFX 1.16, Python 3.10, for older systems
LOCKS := requirements-modern.lock requirements.lock
# Sets $$python, $$lock and $$lane, or ends with what to install. make SETUP_PYTHON=/path/to/python
# looks nowhere else.
PICK_LANE = \
	find_python() { for version in "$$@"; do for python in $(or $(SETUP_PYTHON),python$$version python3 \
		"$$HOME"/.pyenv/versions/$$version*/bin/python /usr/local/bin/python$$version); do \
		"$$python" -c 'import ensurepip, sys, venv; \
			sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' $$version 2>/dev/null && return; \
		done; done; python=; return 1; }; \
	glibc=$$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d " " -f 2); \
	oldest=$$(printf "%s\n" 2.39 "$$glibc" | sort --version-sort | head -n 1); \
	if [ "$$oldest" = 2.39 ] && find_python 3.13 3.12 3.11; then \
		lock=requirements-modern.lock; lane="TFX 1.21 on $$($$python --version), glibc $$glibc"; \
	else \
		get="apt-get install python3-venv python3-dev"; \
		if [ "$$oldest" = 2.39 ]; then why="no Python 3.11 to 3.13 with its venv module found"; else \
			why="TFX 1.21 needs glibc 2.39 or newer, and this system has $${glibc:-none}"; \
			get="pyenv install 3.10, or on Ubuntu 22.04 $$get"; \
		fi; \
		find_python 3.10 || { echo "error: $$why; and no Python 3.10, for TFX 1.16, either. Install one," \
			"for example with: $$get; or pass its path: make SETUP_PYTHON=/path ..." >&2; exit 1; }; \
		lock=requirements.lock; lane="TFX 1.16 on $$($$python --version): $$why"; \
	fi

.DEFAULT_GOAL := help
.PHONY: help setup lane run page test test-fast fuzz campaign lint format lock images clean clean-workdir

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
	@echo "make lane       say for which TFX and Python that would be, and why"
	@echo "make images     build the images for Vertex AI with Cloud Build: see docs/production.md"
	@echo "make lock       resolve the dependencies into the lock files (needs uv)"
	@echo "make clean-workdir  list what no pushed or blessed model and no recent run needs; with"
	@echo "                FLAGS=--remove, remove it. FLAGS=--help shows the rest"
	@echo "make clean      remove the environment and all caches"

setup: $(VENV)/.installed

lane:
	@$(PICK_LANE); echo "$$lane"

# A copy of the lock that was installed: pip resolves nothing, and installs only what matches.
$(VENV)/.installed: $(LOCKS)
	@$(PICK_LANE); \
	cmp --quiet $$lock $@ && { touch $@; exit; }; \
	echo "setting up $(VENV) with $$lane; this takes a few minutes, once"; \
	$$python -m venv --clear $(VENV) && \
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r $$lock > $(VENV)/install.log 2>&1 || \
	{ tail -n 20 $(VENV)/install.log >&2; \
		echo "error: the installation failed; the log is $(VENV)/install.log" >&2; exit 1; }; \
	cp $$lock $@

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

LOCK := uv pip compile pyproject.toml --generate-hashes --no-header --quiet
MODERN := --python-version 3.11 --universal --fork-strategy fewest
lock:
	$(LOCK) --python-version 3.10 --all-extras --output-file requirements.lock
	$(LOCK) --python-version 3.10 --constraint requirements.lock --no-annotate \
		--output-file requirements-older-images.lock
	$(LOCK) $(MODERN) --all-extras --output-file requirements-modern.lock
	$(LOCK) $(MODERN) --constraint requirements-modern.lock --no-annotate \
		--output-file requirements-modern-images.lock

# The tag is for people: it may move, so runs use the digests printed at the end.
TRAINER := tpu-trainer
images:
	@test -n "$(REPOSITORY)" || { echo "error: name the repository of the images:" \
		"make images REPOSITORY=REGION-docker.pkg.dev/PROJECT/detector [TRAINER=gpu-trainer]" >&2; \
		exit 2; }
	@case $$($(PYTHON) -c "from pipeline.lane import IS_OLDER; print(IS_OLDER)" 2>/dev/null) in \
		True) lane=older ;; *) lane=modern ;; esac; \
	code=$$(python3 -c "from pipeline.fingerprint import code_fingerprint as code; \
		print(code('pipeline.pipeline'))") && \
	gcloud builds submit --config cloudbuild.yaml --substitutions \
		_REPOSITORY=$(REPOSITORY),_TRAINER=$(TRAINER),_CODE_FINGERPRINT=$$code,_LANE=$$lane . && \
	digest() { gcloud artifacts docker images describe "$(REPOSITORY)/$$1:$$code" \
		--format "value(image_summary.fully_qualified_digest)"; } && \
	pipeline=$$(digest pipeline) && trainer=$$(digest $(TRAINER)) && \
	echo "--pipeline-image $$pipeline" && echo "--trainer-image $$trainer"

clean-workdir: setup
	@$(PYTHON) -m pipeline.local.cleanup $(FLAGS)

clean:
	rm -rf $(VENV) .keras .tmp .pytest_cache .ruff_cache .import_linter_cache
