# Everything a developer types. It all lands in .venv and .beacond; only `make test`, and only as root with
# apt, installs anything else: the servers its tests start (tests/apt.txt).
#
#   PYTHON=python3.12 make test     another Python than python3 (3.11 or newer)

export PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
HTTP := 127.0.0.1:8650
DNS := 127.0.0.1:8653

.PHONY: help run test check demo bench bench-quick freshness availability soak sim lock clean venv test-venv peers lint

help:
	@echo "make run     an agent on this machine, and what to try with it"
	@echo "make test    lint, types and the whole test suite"
	@echo "make check   lint, types and house rules only (seconds)"
	@echo "make demo    a small fleet, losing its bus, and still answering"
	@echo "make bench         what lookups and a fleet cost, beside unbound, dnsmasq and nginx"
	@echo "make bench-quick   the same in two minutes, coarser"
	@echo "make freshness     how soon a change is seen, beside Serf, etcd and ZooKeeper"
	@echo "make availability  what is answered while things fail, beside the same"
	@echo "make soak    30 minutes of churn and faults, and what grew"
	@echo "make sim     2,000 fleets in virtual time, each with faults of its own"
	@echo "make lock    the locks again, from pyproject.toml"
	@echo "make clean   remove what the others made"

run: venv
	@echo "One agent of beacond on this machine: HTTP on $(HTTP), DNS on $(DNS), nothing beyond."
	@echo "Leave it running, and try in another terminal, in this folder:"
	@echo
	@echo "  $(BIN)/beacond register web --port 8080"
	@echo "  curl http://$(HTTP)/v1/services/web"
	@echo "  dig @$(firstword $(subst :, ,$(DNS))) -p $(lastword $(subst :, ,$(DNS))) web.service.beacon.internal SRV"
	@echo "  $(BIN)/beacond run --name api --port 9000 -- $(BIN)/python -m http.server 9000"
	@echo "  $(BIN)/beacond watch"
	@echo "  $(BIN)/beacond deregister web-8080"
	@echo
	@echo "Ctrl-C here stops the agent. What follows is its log."
	@exec $(BIN)/beacond agent --bus local:// --http $(HTTP) --dns $(DNS) --data-dir .beacond

test: test-venv
	@sh .ci/servers.sh tests/apt.txt
	@$(MAKE) --no-print-directory lint
	$(PYTEST) -n 3 --dist loadfile
	@echo "make test: lint, types and all tests passed"

check: test-venv lint
	$(PYTEST) tests/tidy
	@echo "make check: lint, types and house rules hold"

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: test-venv
	@$(BIN)/python -m tests.demo

bench: peers
	@$(BIN)/python -m tests.bench

bench-quick: peers
	@$(BIN)/python -m tests.bench --quick

freshness: peers
	@$(BIN)/python -m tests.freshness

availability: peers
	@$(BIN)/python -m tests.availability

soak: test-venv
	@$(BIN)/python -m tests.soak

sim: test-venv
	@$(BIN)/python -m tests.sim --seeds 2000

# Pins that still fit stay; remove the lock files first to move all of them to the newest.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml --group build

lock: venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(COMPILE) -o requirements.lock
	$(COMPILE) -c requirements.lock --group test -o requirements-test.lock

clean:
	rm -rf .venv .beacond .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build *.egg-info
	find beacond tests -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@sh .ci/venv.sh requirements.lock

peers: test-venv
	@sh .ci/servers.sh tests/apt-peers.txt

test-venv:
	@sh .ci/venv.sh requirements-test.lock
