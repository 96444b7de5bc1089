# Two commands: `make demo` shows the main job, `make test` is everything CI runs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
MARKET ?= ../shared/data/market
CACHE ?= .cache
export STALLWART_CACHE_DIR ?= $(CACHE)

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## .venv with everything the project needs

$(READY): pyproject.toml constraints.txt
	@echo "setting up .venv: some 2 GB come and are installed, which takes minutes, once"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'setuptools>=77'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,postgres,ocr,dev]'
	touch $(READY)

demo: $(READY) ## a generated market: learn it, serve it, decide, and open the page of review
	$(BIN)/stallwart demo demo

test: lint types unit docs ## everything CI runs, in the same order

lint: $(READY) ## format, style, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(READY) ## strict types
	$(BIN)/mypy --strict stallwart

unit: $(READY) ## all tests; those that take long, kill processes or time things go one at a time
	$(BIN)/pytest -m 'not slow' -n 2 --dist loadfile
	$(BIN)/pytest -m slow

fast: $(READY) ## tests of a few minutes
	$(BIN)/pytest -m 'not slow and not market' -n 2 --dist loadfile

docs: $(READY) ## the reference is current, the documentation's commands and links exist
	$(BIN)/pytest tests/test_docs.py

market: $(READY) ## the main job on the real market, where it is present
	$(BIN)/stallwart train $(MARKET)/listings-*.parquet --labels $(MARKET)/labels.csv --policies $(MARKET)/policies.toml --train-until 2025-09-01 --validate-until 2025-10-01 --out build/market
	$(BIN)/stallwart evaluate build/market $(MARKET)/listings-*.parquet --labels $(MARKET)/labels.csv --out build/report

clean: ## all that was made, but not the embeddings
	rm -rf demo build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

.PHONY: help setup demo test lint types unit fast docs market clean
