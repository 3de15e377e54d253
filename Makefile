# make demo   the main job, for real: a Debian machine that nobody knows
#             boots in QEMU, is approved, and comes up
# make test   everything
SHELL := /bin/bash
.DELETE_ON_ERROR:
export CGO_ENABLED ?= 0
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
# What the programs hold of the history is what these two say: a tree without
# one gives the same bytes.
LDFLAGS := -s -w -X latchkey/internal/version.number=$(VERSION) -X latchkey/internal/version.commit=$(COMMIT)
GOFLAGS_BIN := -trimpath -buildvcs=false -ldflags='$(LDFLAGS)'
# The init is small before all else: what runs once a boot is not inlined. What
# reads keyslots is, and all hashes and ciphers are.
INIT_FLAGS := $(foreach p,github.com/... golang.org/x/net/... golang.org/x/sys/... net/... encoding/... log/... fmt os/... time math/big reflect strings bytes latchkey/...,-gcflags=$(p)=-l) -gcflags=latchkey/unlock/luks2=
BIN ?= bin
COMMANDS := latchkey latchkey-kms latchkey-responder latchkey-agent kcrypt-discovery-challenger

.PHONY: build demo test test-long clean-room fuzz chaos bench mutants lint clean distclean deps deps-demo man packages images release init-flags ld-flags

build: ## all commands into bin/ (BIN=…)
	@mkdir -p $(BIN)
	go build $(GOFLAGS_BIN) $(INIT_FLAGS) -o $(BIN)/latchkey-init ./cmd/init
	go build $(GOFLAGS_BIN) $(INIT_FLAGS) -tags tls -o $(BIN)/latchkey-init-tls ./cmd/init
	@for c in $(COMMANDS) latchkey-kms-bench; do echo go build -o $(BIN)/$$c ./cmd/$$c; go build $(GOFLAGS_BIN) -o $(BIN)/$$c ./cmd/$$c || exit 1; done

deps: ## the Debian packages that demo and test need
	@images/deps

deps-demo: ## those that demo needs
	@images/deps --demo

demo: deps-demo build ## the main job, for real, twice
	@images/demo

test: deps build ## everything: lint, unit, race, whole boots
	@qemu-tests/run

test-long: deps build ## the same with the variants that take long, and a minute of each fuzz target
	@LATCHKEY_LONG=1 FUZZTIME=$${FUZZTIME:-1m} qemu-tests/run lint unit race scripts fuzz

clean-room: deps ## lint, unit and race in a Debian that has only what images/deps names
	@qemu-tests/clean-room

fuzz: deps build ## every fuzz target for FUZZTIME (4s)
	@qemu-tests/run fuzz

chaos: deps ## ten thousand histories at servers that die, stop and lose their store (an hour)
	@qemu-tests/run chaos

bench: deps build ## speed and size, as ratios against the floor, also into docs/performance.md
	@set -o pipefail; mkdir -p out && qemu-tests/bench | tee out/bench.txt && go run ./qemu-tests/performance timed <out/bench.txt

mutants: ## switch rules off, one at a time: the named test must fail (half an hour)
	go run ./qemu-tests/mutants $(WORDS)

lint: ## gofumpt, vet, staticcheck, spelling
	@tools=$${LATCHKEY_LINT:-$$(images/lint-tools)} && \
	unformatted=$$($$tools/gofumpt -l -lang go1.26 -modpath latchkey .) && { test -z "$$unformatted" || { echo "not gofumpt'ed:"; echo "$$unformatted"; exit 1; }; } && \
	go vet ./... && go vet -tags tls ./cmd/init && \
	$$tools/staticcheck ./... && \
	$$tools/misspell -error -locale US -i enrol,adress $$(find . -path ./.git -prune -o -type f ! -path './bin/*' ! -path './out/*' ! -path '*/testdata/*' ! -name go.sum -print)

packages: ## deb, rpm, apk and Arch packages for amd64 and arm64 into out/packages
	@images/packages/build

images: ## container images of the two servers into out/images, without a container engine
	@images/oci/build

release: ## all files of a release into out/release, built twice and compared; RELEASE_KEY signs them
	@VERSION='$(VERSION)' images/release/build

init-flags: ## prints how the inits are built
	@echo $(INIT_FLAGS)

ld-flags: ## prints what the linker is told
	@echo '$(LDFLAGS)'

man: build
	@for c in $(COMMANDS); do bin/$$c man out/man || exit 1; done

clean: ## forget what was built here; keep what was fetched and built for the tests
	rm -rf bin out

distclean: clean ## forget the cache, too: kernels, roots, etcd, kube-apiserver (17 minutes to build)
	rm -rf "$${LATCHKEY_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/latchkey}"
