# make demo   the main job, for real: a Debian machine that nobody knows
#             boots in QEMU, is approved, and comes up
# make test   everything
SHELL := /bin/bash
.DELETE_ON_ERROR:
export CGO_ENABLED ?= 0
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
GOFLAGS_BIN := -trimpath -ldflags='-s -w -X latchkey/internal/cli.version=$(VERSION)'
COMMANDS := latchkey latchkey-kms latchkey-responder

.PHONY: build demo test fuzz bench lint clean deps man

build: ## all commands into bin/
	@mkdir -p bin
	go build $(GOFLAGS_BIN) -o bin/latchkey-init ./cmd/init
	@for c in $(COMMANDS) latchkey-kms-bench; do echo go build -o bin/$$c ./cmd/$$c; go build $(GOFLAGS_BIN) -o bin/$$c ./cmd/$$c || exit 1; done

deps: ## the Debian packages that demo and test need
	@images/deps

demo: deps build ## the main job, for real, twice
	@images/demo

test: deps build ## everything: lint, unit, race, whole boots
	@qemu-tests/run

fuzz: deps build ## every fuzz target for FUZZTIME (4s)
	@qemu-tests/run fuzz

bench: deps build ## speed and size, as ratios against the floor
	@qemu-tests/bench

lint:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'ed:"; gofmt -l .; exit 1; }
	go vet ./...

man: build
	@for c in $(COMMANDS); do bin/$$c man out/man || exit 1; done

clean: ## forget everything that was built or cached
	rm -rf bin out "$${LATCHKEY_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/latchkey}"
