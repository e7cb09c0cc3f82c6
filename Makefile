# Everything runs in .venv, made from the hashed lock. `make help` lists the targets.
SHELL := /bin/bash
VENV := .venv
LOCK := requirements/cpu.lock
PART := features forward training serving
SWEEP := models.crnn.learning_rate=0.001,0.004 models.crnn.dropout=0.3,0.5 models.crnn.mixup=0,0.2
SWEPT := train@crnn
# The web page's one library; after a change of version, write its digests anew: make vendor VENDOR_CHECK=
WAVESURFER := 8.0.1
VENDORED := src/music_genre/service/static/vendor/wavesurfer
VENDOR_CHECK := --check
# Files are shared out; a process more than cores, because tests wait for servers.
TEST := pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder -m
# GPU machines: make repro LOCK=requirements/gpu.lock
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := true
export MLFLOW_DISABLE_TELEMETRY := true
# Its workers for what nobody does here take half a minute of processor time.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
export DVC_NO_ANALYTICS := 1
export BENTOML_DO_NOT_TRACK := true
export GX_ANALYTICS_ENABLED := false
export TF_CPP_MIN_LOG_LEVEL := 3
# Every stage is a process of its own, and its bytecode is kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup repro sweep test slow lint ui serve bench vendor samples clean lock
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */\1\t/' | expand -t 8

setup: $(VENV)/.installed  ## make .venv from the lock (the other targets do it themselves)

$(VENV)/.installed: $(LOCK) requirements/bootstrap.lock pyproject.toml
	@python=$$(for name in $(PYTHON) python3.11 python3.12 python3 python; do \
		"$$name" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
		&& command -v "$$name" && break; done) \
	|| { echo "No Python 3.11 or 3.12 with venv found; name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	"$$python" -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	uv pip sync --quiet --require-hashes --compile-bytecode --python $(VENV)/bin/python $(LOCK)
	uv pip install --quiet --no-deps --no-build-isolation --offline --python $(VENV)/bin/python --editable .
	@touch $@

repro: setup  ## from audio to a promoted model: dvc repro, then music-genre register
	dvc repro
	@music-genre register
	@echo
	@music-genre versions
	@printf '%s\n' '' \
		"make ui      runs, metrics and the registry in a browser" \
		"make serve   the champion at http://localhost:3000" \
		"reports/index.html   all that was found, on one page that opens from disk"

sweep: setup  ## DVC's queue: learning rates, dropouts, mixups, judged on validation (SWEEP='key=a,b ...' SWEPT=train@...)
	dvc repro validate
	dvc exp run --queue $(SWEEP:%=-S '%') $(SWEPT)
	dvc exp run --run-all
	@echo
	@music-genre runs
	@printf '%s\n' '' \
		"make ui              the runs side by side; filter them by: tags.dvc_experiment != ''" \
		"dvc exp apply NAME   takes the params of one over; then dvc repro"

# There are more processes than cores; `make slow` trains on all of them.
test: export TF_NUM_INTRAOP_THREADS := 1
test: setup  ## unit, pipeline and service tests
	$(TEST) "not browser and not real and not slow"

slow: setup  ## the long tests: fresh clones, sweeps, trains of kills
	$(TEST) slow

lint: setup  ## style, types and the direction of imports
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-logo

ui: setup  ## the MLflow UI at http://localhost:5000
	@case "$$MLFLOW_TRACKING_URI" in http*) echo "The server of MLFLOW_TRACKING_URI has them: $$MLFLOW_TRACKING_URI"; exit;; esac; \
	printf '%s\n' "Data Docs   file://$(CURDIR)/reports/data_quality/site/index.html" \
		"runs        http://localhost:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=figures" \
		"models      http://localhost:5000/#/models/music-genre"; \
	mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlflow.db}"

serve: setup  ## the champion at http://localhost:3000
	bentoml serve

bench: setup  ## speed against named references; writes benchmarks/results/ (one PART, or features forward training serving)
	for part in $(PART); do python benchmarks/$$part.py || exit 1; done

vendor:  ## the web page's library anew, by npm's client; its bytes must have the digests in git
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
	&& npm pack --silent --pack-destination "$$folder" wavesurfer.js@$(WAVESURFER) >/dev/null \
	&& tar -xzf "$$folder"/*.tgz -C "$$folder" && mkdir -p $(VENDORED) \
	&& cp "$$folder"/package/{LICENSE,package.json,dist/wavesurfer.esm.js} $(VENDORED)/ \
	&& cd $(VENDORED) && $(if $(VENDOR_CHECK),sha256sum --check SHA256SUMS,sha256sum LICENSE package.json wavesurfer.esm.js >SHA256SUMS)

samples: setup  ## synthesise the clips that the web page offers
	python -m music_genre.service.demo_clips

clean:  ## remove the environment and the tools' caches; data, models, runs and downloads stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

lock: setup  ## compile requirements/*.lock anew from pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		pyproject.toml --extra cpu --extra dev --output-file requirements/cpu.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		pyproject.toml --extra gpu --extra dev --output-file requirements/gpu.lock
	echo uv | uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		- --output-file requirements/bootstrap.lock
	uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate --quiet \
		requirements/serve.in --constraint requirements/cpu.lock --output-file requirements/serve.lock
