# hallpass: `make demo` shows it, `make test` proves it. Both install what is missing first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help demo dev test test-long check lint-ci fix build release bench fuzz clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: ## a complete example on one machine, then everything is cleaned up
	@deploy/dev/install.sh demo
	cargo build --locked
	@cargo run --locked --quiet -- demo

dev: ## the demo's servers, kept running to play with
	@deploy/dev/install.sh demo
	@cargo run --locked --quiet -- dev

test test-long: export TMPDIR := $(shell deploy/dev/temporary.sh)
test: ## what CI runs: check, then every test against real servers
	@deploy/dev/install.sh test
	$(MAKE) --no-print-directory check
	deploy/dev/embedded-postgres.sh
	deploy/dev/valkey.sh
	deploy/dev/gitlab-ci-local.sh
	deploy/dev/smt-solvers.sh
	cargo test --locked
	@# Sealed delivery is not in the default features; its tests without the feature ran above.
	cargo test --locked --features sealed --test it -- sealed::
	@# By itself, so that no feature of what it needs is in the hallpass that the others test.
	cargo test --locked -p hallpass-opinion

test-long: ## what takes minutes: full counts, every kind of installation, the container image, the release
	@deploy/dev/install.sh test
	deploy/dev/embedded-postgres.sh
	deploy/dev/valkey.sh
	cargo test --locked --test it -- --ignored long_ managed_15 cloud_sql_18 --test-threads=2
	deploy/dev/smt-solvers.sh
	cargo test --locked --lib -- --ignored long_
	@deploy/dev/install.sh image
	deploy/container/test.sh
	deploy/release-test.sh
	deploy/dev/lint-ci.sh
	deploy/dev/jenkins-library.sh

check: ## formatting, lints, docs, dependencies, and our own policies
	@deploy/dev/install.sh test
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@# As the container image is built: without `demo` and `dev`.
	cargo clippy --locked --no-default-features --lib --bins -- -D warnings
	cargo clippy --locked --features sealed --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
	deploy/dev/cargo-deny.sh
	target/tools/bin/cargo-deny --locked --workspace check -D warnings bans licenses sources
	cargo run --locked --quiet -- policy check policies
	cargo run --locked --quiet -- policy fmt --check policies
	deploy/dev/github-action.sh

lint-ci: ## workflows, the GitHub Action and the scripts of other CIs: actionlint, zizmor, shellcheck
	@deploy/dev/install.sh test
	deploy/dev/lint-ci.sh

fix: ## format, and apply the fixes of clippy
	cargo clippy --fix --allow-dirty --allow-staged --workspace --all-targets
	cargo fmt --all

build: ## the release binary: target/release/hallpass
	@deploy/dev/install.sh demo
	cargo build --locked --release

release: ## archive, SBOM and checksums of this machine's release: target/release-files (TARGET=…)
	deploy/release.sh $(TARGET)

bench: build ## speed and memory beside a ceiling and other programs; see benches/README.md (BENCH=…)
	cargo run --locked --release --quiet --package hallpass-bench -- $(BENCH)

fuzz: ## random input for each parser of untrusted text, a minute each (FUZZ_SECONDS=…)
	@deploy/dev/install.sh fuzz
	@tests/fuzz/run.sh

clean: ## what was built
	cargo clean
