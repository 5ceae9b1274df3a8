# The commands of this repository. Each installs the prerequisites that are missing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run test test-kernel test-desktop aarch64 soak bench quality firmware check overflow loom mutants package deb deb-aarch64

ENV := source tools/env.sh;
ARGS ?=

help:
	@echo 'make run           simulate a conversation and write target/handsfree-report (ARGS="..." is passed on)'
	@echo 'make test          build the core for Cortex-M, run the firmware in QEMU and every test'
	@echo 'make test-kernel   run only the tests on a Linux kernel with sound cards in QEMU, with what they measured'
	@echo 'make test-desktop  run only the tests on PulseAudio and PipeWire, and those with clients in Python, with what they measured'
	@echo 'make check         check format, lints, documentation, public API, dependencies, Cortex-M builds, oldest compiler'
	@echo 'make overflow      run the tests that do not need the C++ with overflow checks and debug assertions (part of check)'
	@echo 'make loom          run what two threads share in every order of their loads and stores (part of check)'
	@echo 'make mutants       change one thing at a time in the core, which its unit tests must find (hours; SHARD=K/N)'
	@echo 'make package       package each library crate and run its tests from the package alone; then make deb-aarch64 and deb'
	@echo 'make deb           make the .deb file, and install, run and remove it in clean systems of Debian 12 and 13'
	@echo 'make bench         measure the time of each part, compared with other libraries'
	@echo 'make quality       compare the cancellers in rooms, by figures, pictures and sound (ARGS=--write accepts the figures)'
	@echo 'make soak          run the tests that simulate hours'
	@echo 'make firmware      build the Cortex-M4F images and C programs, run them in QEMU and print their figures; build the boards'
	@echo 'make aarch64       build the command for 64-bit ARM boards and test it in an emulator (builds the C++ again)'
	@echo 'make setup         install what is missing'

setup:
	@tools/setup.sh
	@tools/setup-firmware.sh

# Without C++ and audio devices, which a simulation does not need, and without decoders when no file is named, until `make setup` has
# prepared the complete build; at once with that when a WebRTC canceller is asked for.
QUICK := $(if $(findstring webrtc,$(ARGS))$(findstring --compare,$(ARGS))$(wildcard target/tools/abseil),,quick)
run:
	@$(if $(QUICK),tools/setup.sh simulation,$(MAKE) --no-print-directory setup)
	$(ENV) cargo run --locked --release -p handsfree-cli $(if $(QUICK),--no-default-features $(if $(ARGS),--features formats)) \
		-- sim --out target/handsfree-report $(ARGS)

test: setup
	tools/check-cortex-m.sh
	$(ENV) tools/firmware.sh
	$(ENV) cargo test --locked --workspace --release

test-kernel: setup
	$(ENV) cargo test --locked --release -p handsfree-kernel-tests -p handsfree-cli --test kernel -- --nocapture

test-desktop:
	@tools/setup-desktop.sh clients
	$(ENV) cargo test --locked --release -p handsfree-cpal -- --nocapture
	$(ENV) cargo test --locked --release -p handsfree-cli --test desktop --test alsa -- --include-ignored --nocapture
	$(ENV) cargo test --locked --release -p handsfree-cli --test own_clock own_clock_echo -- --ignored --nocapture

# The test compares this machine's binary with the other one, so both are built.
aarch64: setup
	@tools/build-aarch64.sh

# These take minutes to hours, so `make test` leaves them out.
soak: setup
	@tools/setup-desktop.sh clients
	@echo 'soak: an hour of the firmware board, then every test marked #[ignore]'
	$(ENV) HANDSFREE_FUZZ_EXECUTIONS=1000000 tools/firmware.sh 3600
	$(ENV) cargo test --locked --workspace --release -- --ignored
	$(ENV) HANDSFREE_FUZZ_EXECUTIONS=10000000 cargo test --locked --release -p handsfree-fuzz \
		--test journal --test wav --test halves --test library --test protocol -- --nocapture
	$(ENV) HANDSFREE_FUZZ_EXECUTIONS=1000000 cargo test --locked --release -p handsfree-fuzz \
		--test canceller --test scenario -- --nocapture

bench: setup
	$(ENV) cargo bench --locked --workspace

quality: setup
	$(ENV) cargo run --locked --release -p handsfree-tests --example quality -- $(ARGS)

firmware: setup
	$(ENV) tools/firmware.sh
	tools/instruction-counts.sh
	tools/boards.sh

# In the release profile as `test` is, so that the C++ is built once.
check: setup overflow loom
	$(ENV) cargo fmt --all --check
	$(ENV) cargo clippy --locked --release --workspace --all-targets -- -D warnings
	$(ENV) RUSTDOCFLAGS='-D warnings' cargo doc --locked --release --workspace --no-deps
	tools/check-api.sh
	tools/check-deny.sh
	tools/check-locked.sh
	tools/third-party.sh --check
	tools/check-cortex-m.sh
	tools/check-msrv.sh
	$(ENV) tools/check-native.sh

# The packages that do not need the C++, which takes minutes to build in another profile.
overflow: setup
	$(ENV) cargo test --locked --profile overflow -p handsfree-core -p handsfree-sim -p handsfree-host --features handsfree-core/journal --lib --tests
	$(ENV) cargo test --locked --profile overflow -p handsfree-fuzz --no-default-features --lib --tests

# The core's own types with loom's atomics. In a folder of its own, because the flag is for every crate.
loom:
	$(ENV) RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=target/loom \
		cargo test --locked --profile loom -p handsfree-core --lib interleavings -- --nocapture

SHARD ?= 0/1
mutants:
	tools/mutants.sh $(SHARD)

package: setup
	tools/package.sh
	@$(MAKE) deb-aarch64
	@$(MAKE) deb

# Debian 12's C library is the first with packed relocations, which save 0.2 MB.
DEB_BUILD = cargo rustc --locked --profile deb -p handsfree-cli --bin handsfree -- -C link-arg=-Wl,-z,pack-relative-relocs

# The profile optimises across crates and builds the C++ again. ARM's package is tested too if it was made before.
deb: setup
	@tools/setup-package.sh
	$(ENV) $(DEB_BUILD)
	tools/package-deb.sh
	tools/test-deb.sh

# Before `deb`, which tests it; the manual pages are written by this machine's binary.
deb-aarch64: setup
	$(ENV) $(DEB_BUILD)
	tools/build-aarch64.sh deb
	tools/package-deb.sh arm64
