# The commands of this project. Each works without make too: sh run.sh [run|test|check].
SHELL = /bin/sh
.PHONY: help run test check format lock bench bench-check

help:
	@echo "make run      start Enterprise Billing at http://localhost:8000 (PORT=… moves it)"
	@echo "make test     run the tests (ARGS='tests/core -k money' passes options to pytest)"
	@echo "make check    lint, types, layers, templates, deployment and dependency checks"
	@echo "make bench    measure it beside its own database (ARGS=--quick: a minute; --help says what else)"
	@echo "make bench-check  the same, and compare with the floors in bench/floors.json"
	@echo "make format   format the Python code"
	@echo "make lock     pin requirements.in and requirements-dev.in anew (needs uv)"

run:
	@exec sh run.sh run

test:
	@exec sh run.sh test $(ARGS)

check:
	@exec sh run.sh check

bench:
	@sh run.sh install
	@.venv/bin/python -m bench $(ARGS)

bench-check:
	@sh run.sh install
	@.venv/bin/python -m bench --check $(ARGS)

format:
	@sh run.sh install
	@.venv/bin/python -m ruff check --fix --select I .
	@.venv/bin/python -m ruff format .

lock:
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --output-file requirements.txt requirements.in
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --constraint requirements.txt --output-file requirements-dev.txt requirements-dev.in
