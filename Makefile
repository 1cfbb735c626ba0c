# make image    install what is missing, build and boot the example's images
# make test     install what is missing, run the tests, real boots included
# make soak     the same at full length: every fault, every signal, every seed
# make oracles  let VirtualBox, virt-v2v, Vagrant and a vCenter simulator judge the images
# make bench    the benchmarks, as ratios measured in one run
# make lint     gofumpt and golangci-lint
# make docs     regenerate docs/ and the schema from the code

GOLANGCI := v2.5.0
ACT      := v0.2.89
OUTPUT   ?= out
IMAGEBUILD := bin/imagebuild
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  := -s -w -X github.com/org/imagebuild-action/internal/cli.Version=$(VERSION)

export CGO_ENABLED ?= 0

.PHONY: all build image test unit soak oracles bench lint docs clean
all: build

build: $(IMAGEBUILD)
$(IMAGEBUILD): FORCE
	go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $@ ./cmd/imagebuild
.PHONY: FORCE

image: build
	.ci/setup build
	$(IMAGEBUILD) build examples/golden --output $(OUTPUT)

unit:
	go vet ./...
	go test ./...

# All that unit tests is in here, at more length.
test:
	.ci/setup build test
	$(MAKE) build bin/act
	go vet ./...
	REQUIRE_TOOLS=1 IMAGEBUILD_E2E=1 go test -timeout 80m ./...

soak: build bin/act
	.ci/setup build test
	REQUIRE_TOOLS=1 IMAGEBUILD_E2E=soak go test -timeout 4h ./...

oracles: build
	.ci/setup build test oracles
	oracles/all.sh $(OUTPUT)

bench: build
	.ci/setup build test bench
	bench/vmdk
	TMPDIR=/dev/shm go test ./internal/extract -run '^$$' -bench VsDebugfs -benchtime 5x
	bench/packer

lint: bin/golangci-lint
	bin/golangci-lint fmt --diff
	bin/golangci-lint run

bin/golangci-lint:
	GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)

bin/act:
	GOBIN=$(CURDIR)/bin go install github.com/nektos/act@$(ACT)

docs: build
	rm -rf docs/commands
	$(IMAGEBUILD) docs docs --action action.yml --readme README.md
	$(IMAGEBUILD) schema > docs/imagebuild.schema.json

clean:
	rm -rf bin out
