# Everything a developer runs. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
CLUSTER := $(PYTHON) -m tests.e2e.cluster

# The environment follows pyproject.toml: a changed dependency is a new stamp, hence a new installation.
STAMP := $(VENV)/.installed-$(shell sha256sum pyproject.toml | cut -c1-12)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP):
	@if [ $$(id -u) = 0 ] && command -v apt-get >/dev/null; then $(CLUSTER) packages; fi
	$(PYTHON) -m venv $(VENV)
	@# Most of what is installed is never imported; the rest is compiled at its first import.
	$(VENV)/bin/pip install --quiet --no-compile --editable '.[operator,node-agent,dev]'
	@rm -f $(VENV)/.installed-*
	@touch $@

.PHONY: venv
venv: $(STAMP) ## the Python environment in .venv

.PHONY: cluster
cluster: ## start the local cluster (or find it running); the last line is the path of its kubeconfig
	@$(CLUSTER) up

.PHONY: cluster-down
cluster-down: ## remove the local cluster and everything it left on the machine
	@$(CLUSTER) down

.PHONY: apiserver
apiserver: ## a bare etcd and API server in the foreground, without a node
	@$(CLUSTER) apiserver

.PHONY: images
images: ## build the container images that changed and hand them to the local cluster
	@$(CLUSTER) images

.PHONY: demo
demo: venv ## cluster, chart and shop; a fault, its Event, the recovery
	@$(VENV)/bin/python tests/e2e/demo.py up

.PHONY: demo-down
demo-down: ## remove what `make demo` made, the cluster included
	@$(PYTHON) tests/e2e/demo.py down

.PHONY: lint
lint: venv ## ruff, mypy, import layers
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy operator/appstatus node_agent/appstatus_agent
	$(VENV)/bin/lint-imports

.PHONY: unit
unit: venv
	$(VENV)/bin/python -m pytest tests/unit

.PHONY: test-unit
test-unit: venv ## the fast tests: no root, no cluster
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint unit

.PHONY: test-e2e
test-e2e: venv ## the tests on real servers, kernels and a cluster: KUBECONFIG, else the local one
	@$(VENV)/bin/python tests/e2e/lanes.py

.PHONY: test
test: ## all tests
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-e2e

.PHONY: soak
soak: venv ## hours of healthy load, churn and repeated faults; appends to a results file
	@$(VENV)/bin/python tests/e2e/soak.py

.PHONY: bench
bench: venv ## the node agent's benchmark: cost, loss and latency with and without it
	$(VENV)/bin/python benchmarks/agent.py

.PHONY: bench-operator
bench-operator: venv ## the operator's benchmark: what a cycle costs on one node with 50 pods that come and go; 15 min
	$(VENV)/bin/python benchmarks/operator.py --applications 15 --pods 50 --nodes 1 --churn 4 --past 2 --cycles 40
