# Everything runs in .venv, made from the hashed lock. `make help` lists the targets.
SHELL := /bin/bash
VENV := .venv
LOCK := requirements/cpu.lock
PART := collection selection ingest scale features forward training serving drift
IMPROVED := models.crnn.improved
SWEEP_PARAMS := $(IMPROVED).learning_rate=0.001,0.004 $(IMPROVED).dropout=0.3,0.5 $(IMPROVED).mixup=0,0.2
SWEEP_STAGE := train@crnn
# The web page's one library. After a change of version, write its digests anew: make vendor VENDOR_CHECK=
WAVESURFER_VERSION := 8.0.1
WAVESURFER := src/music_genre/service/static/vendor/wavesurfer
VENDOR_CHECK := --check
# One process more than two cores have, because tests wait for servers; tests/conftest.py groups the tests.
PYTEST := pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder -m
# GPU machines: make repro LOCK=requirements/gpu.lock
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := true
export MLFLOW_DISABLE_TELEMETRY := true
# MLflow's background workers do nothing here and take half a minute of processor time.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
export DVC_NO_ANALYTICS := 1
export BENTOML_DO_NOT_TRACK := true
export GX_ANALYTICS_ENABLED := false
export TF_CPP_MIN_LOG_LEVEL := 3
# Every stage is a process of its own: cached bytecode saves each of them seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup repro retrain sweep test slow lint ui serve bench vendor samples pictures docs clean lock
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */\1\t/' | expand -t 10

setup: $(VENV)/.installed  ## make .venv from the lock (the other targets do it themselves)

$(VENV)/.installed: $(LOCK) requirements/bootstrap.lock requirements/encoders.lock pyproject.toml
	@test ! -L $(VENV) || { echo "$(VENV) is a link: a new environment would empty the one it leads to; remove it" >&2; exit 1; }
	@python=$$(for name in $(PYTHON) python3.11 python3.12 python3 python; do \
		"$$name" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
		&& command -v "$$name" && break; done) \
	|| { echo "No Python 3.11 or 3.12 with venv found; name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	"$$python" -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	uv pip sync --quiet --require-hashes --compile-bytecode --python $(VENV)/bin/python $(LOCK)
	@# The encoder's weights. The package itself wants a NumPy of 2019, so it is not installed.
	$(VENV)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
		--dest $(VENV)/share -r requirements/encoders.lock
	uv pip install --quiet --no-deps --no-build-isolation --offline --python $(VENV)/bin/python --editable .
	@touch $@

# An experiment removes and writes outs before any stage runs, so what would be lost is refused before DVC starts.
CHECK_SOURCES := python -c 'from music_genre.pipeline import scan; scan.check()'

repro: setup  ## from audio to a registered model: dvc repro; a refusal by the gate is said at the end
	@touch $(VENV)/.repro-start
	@$(CHECK_SOURCES)
	dvc repro
	@# Where stage register had nothing to do, the tracking store may still be new or lost: the command fills it.
	@test reports/registration.json -nt $(VENV)/.repro-start || music-genre register || test $$? -eq 3
	@echo
	@music-genre versions
	@printf '%s\n' '' \
		"make ui      runs, metrics and the registry in a browser" \
		"make serve   the champion at http://localhost:3000" \
		"reports/index.html   the report of the run, on one page that opens from disk"
	@if grep -q '"verdict": "refused"' reports/registration.json; then \
		printf '\n%s\n' "The gate refused the model, and the champion stays: reports/gate.json says why."; \
	fi

retrain: setup  ## train again on what changed, with a summary
	@music-genre retrain || test $$? -eq 3

sweep: setup  ## queue and train experiments, compared on validation (SWEEP_PARAMS='key=a,b ...' SWEEP_STAGE=train@...)
	@$(CHECK_SOURCES)
	dvc repro validate
	dvc exp run --queue $(SWEEP_PARAMS:%=-S '%') $(SWEEP_STAGE)
	dvc exp run --run-all
	@echo
	@music-genre experiments
	@printf '%s\n' '' \
		"make ui              the runs side by side; filter them by: tags.dvc_experiment != ''" \
		"dvc exp apply NAME   takes over the params of one; then dvc repro"

# Three processes share the cores; `make slow` trains on all of them.
test: export TF_NUM_INTRAOP_THREADS := 1
test: setup  ## unit, pipeline and service tests
	$(PYTEST) "not browser and not real and not slow"

slow: setup  ## the long tests: fresh clones, sweeps, repeated kills
	$(PYTEST) slow

lint: setup  ## style, types and the direction of imports
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-logo

ui: setup  ## the MLflow UI at http://localhost:5000
	@case "$$MLFLOW_TRACKING_URI" in http*) echo "The server of MLFLOW_TRACKING_URI has them: $$MLFLOW_TRACKING_URI"; exit;; esac; \
	printf '%s\n' "Data Docs   file://$(CURDIR)/reports/data_quality/site/index.html" \
		"runs        http://localhost:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=metrics" \
		"models      http://localhost:5000/#/models/music-genre"; \
	mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlflow.db}"

serve: setup  ## the champion at http://localhost:3000
	bentoml serve --host 127.0.0.1

bench: setup  ## speed against named references; writes benchmarks/results/ (PART=serving: one of them)
	for part in $(PART); do python benchmarks/$$part.py || exit 1; done

vendor:  ## download the web page's library again; its files must have the digests in git
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
	&& npm pack --silent --pack-destination "$$folder" wavesurfer.js@$(WAVESURFER_VERSION) >/dev/null \
	&& tar -xzf "$$folder"/*.tgz -C "$$folder" && mkdir -p $(WAVESURFER) \
	&& cp "$$folder"/package/{LICENSE,package.json,dist/wavesurfer.esm.js} $(WAVESURFER)/ \
	&& cd $(WAVESURFER) && $(if $(VENDOR_CHECK),sha256sum --check SHA256SUMS,sha256sum LICENSE package.json wavesurfer.esm.js >SHA256SUMS)

samples: setup  ## synthesize the clips that the web page offers
	python tools/demo_clips.py

pictures: setup  ## take the pictures of README.md from the run that `make repro` left (needs Chromium)
	python tools/pictures.py

docs: setup  ## build the documentation as a site, dist/docs/site/index.html, that opens from disk
	python tools/docs_site.py

clean:  ## remove the environment and the tools' caches; data, models, runs and downloads stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

lock: setup  ## resolve requirements/*.lock from pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		pyproject.toml --extra cpu --extra dev --output-file requirements/cpu.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		pyproject.toml --extra gpu --extra dev --output-file requirements/gpu.lock
	echo uv | uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		- --output-file requirements/bootstrap.lock
	uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate --quiet \
		requirements/serve.in --constraint requirements/cpu.lock --output-file requirements/serve.lock
