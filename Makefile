# The only commands to remember. `make run` and `make test` install what is missing by themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run test test-kernel test-desktop aarch64 soak bench firmware check

ENV := source tools/env.sh;
ARGS ?=

help:
	@echo 'make run       simulate a board and write target/handsfree-report (ARGS="..." is passed on)'
	@echo 'make test      the Cortex-M builds of the core, then every test'
	@echo 'make test-kernel  only the tests on a Linux kernel with sound cards inside QEMU; a part of `make test`'
	@echo 'make test-desktop  only the tests on a real PulseAudio and PipeWire that they start themselves; a part of `make test`'
	@echo 'make aarch64   the same binary for 64-bit ARM boards, tested in an emulator; no part of `make test`, for it'
	@echo '               builds the C++ a second time (ten minutes)'
	@echo 'make soak      the long tests'
	@echo 'make bench     time per frame'
	@echo 'make check     format, lints, documentation, Cortex-M builds, oldest compiler'
	@echo 'make setup     install what is missing; the others do it too'
	@echo 'make firmware  a Cortex-M4F image and C programs in QEMU, with their figures'

setup:
	@tools/setup.sh
	@tools/setup-firmware.sh

run: setup
	$(ENV) cargo run --release -p handsfree -- sim --out target/handsfree-report $(ARGS)

test: setup
	tools/check-cortex-m.sh
	$(ENV) tools/firmware.sh
	$(ENV) cargo test --workspace --release

# As `make test` runs them, but with what they measured. Both packages' tests have that name.
test-kernel: setup
	$(ENV) cargo test --release -p handsfree-kernel-tests -p handsfree --test kernel -- --nocapture

# As `make test` runs them, but with what they measured.
test-desktop:
	@tools/setup-desktop.sh
	$(ENV) cargo test --release -p handsfree-cpal -- --nocapture
	$(ENV) cargo test --release -p handsfree --test desktop -- --nocapture

# For boards such as a Raspberry Pi. This machine's binary is built as well: the test compares the two.
aarch64: setup
	@tools/build-aarch64.sh

# Tests that live hours of audio; `make test` leaves them out because they take minutes.
soak: setup
	@echo 'soak: an hour on the board, then the tests marked #[ignore], a few minutes to some hours'
	$(ENV) tools/firmware.sh 3600
	$(ENV) cargo test --workspace --release -- --ignored

bench: setup
	$(ENV) cargo bench --workspace

firmware: setup
	$(ENV) tools/firmware.sh

# In the release profile as `test` is, so that the C++ is built once.
check: setup
	$(ENV) cargo fmt --all --check
	$(ENV) cargo clippy --release --workspace --all-targets -- -D warnings
	$(ENV) RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps
	tools/check-cortex-m.sh
	tools/check-msrv.sh
