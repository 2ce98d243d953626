# s3vault. `make` alone lists the commands.
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
LIBRARY := $(TARGET)/release/libs3vault.so
PYTHON := build/venv/bin/python
PYTEST := $(PYTHON) -m pytest
MAVEN := mvn -B -ntp -f bindings/java -Ds3vault.library=$(LIBRARY)
STEP := @scripts/step.sh
WITH := scripts/with-store.sh
WASM := --target wasm32-unknown-unknown
# `make test` compiles all of this with the release profile, and for all packages at once: what a package asks of its
# dependencies depends on what is compiled beside it, and no crate should be compiled twice.
PROFILE :=
XTASK := cargo xtask
# Tests in Rust that need no store, and those that do.
UNIT_TESTS := allocations replay abi_arguments abi_environment abi_fork abi_sign
SIMULATOR_TESTS := equal_results huge seeds stream
RUST_TESTS := $(filter-out $(UNIT_TESTS),$(basename $(notdir $(wildcard ffi/tests/*.rs)))) http
# Set by the owner of a machine that cannot have loop devices. scripts/slowest-steps.sh says what was left out.
WITHOUT_LOOP := $(if $(filter 1,$(S3VAULT_WITHOUT_LOOP)),-- --skip loop_device)

# Cargo, Maven and the servers keep two cores busy by themselves.
.NOTPARALLEL:

.PHONY: help
help: ## list these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: ## store a disk image twice, restore both versions with another caller, print times and requests
	@scripts/setup.sh demo
	@scripts/demo.sh

.PHONY: check
check: ## check format, lints, core's tests, generated files, words, module directions, dependencies: a minute when warm
	@scripts/setup.sh check
	@$(MAKE) test-lints
	$(STEP) "core" cargo test -q -p s3vault-core

.PHONY: test-lints
test-lints: ## check format, lints, generated files, words, module directions and dependencies
	$(STEP) "format" cargo fmt --all --check
	$(STEP) "lints" cargo clippy -q $(PROFILE) --all-targets -- -D warnings
	$(STEP) "lints, wasm package" cargo clippy -q $(PROFILE) -p s3vault-wasm -p s3vault-wasm-decrypt $(WASM) -- -D warnings
	$(STEP) "generated files" $(XTASK) generate --check
	$(STEP) "language" $(XTASK) language
	$(STEP) "modules" $(XTASK) modules
	$(STEP) "dependencies: licences, bans, sources" bash -c '. scripts/paths.sh && "$$CARGO_DENY" check licenses bans sources'

# What needs no server, and what does. `make test` runs both at the same time; no two targets of the two may write the same
# files, so all of C, Java and the installed Python package is in the second.
CORE_TESTS := test-lints test-units test-simulator test-scripts test-bench test-abi test-oracle test-credentials test-wasm
STORE_TESTS := test-callers test-store test-rust test-modes test-operations test-c test-python test-java test-web test-killed test-resumed test-broken \
  test-memory test-many test-refusals test-rights test-hostile test-stores test-sse-c test-encrypted test-store-keys test-envelope test-rotation test-disaster test-reader \
  test-verify test-retention test-buckets \
  test-secrets test-explain test-cross

.PHONY: test-core
test-core: $(CORE_TESTS) test-callers ## run all tests that need no server: core, simulator, units of each caller

# The servers and cargo-deny are built (once per machine) while cargo builds.
.PHONY: test
test: ## run all tests, on the embedded store and on MinIO over TLS, and the page in Chromium
	@scripts/setup.sh test
	@rm -f build/steps.tsv
	@scripts/setup.sh minio versitygw deny & servers=$$!; $(MAKE) build; built=$$?; wait $$servers && exit $$built
	@scripts/side-by-side.sh core-tests store-tests; ended=$$?; scripts/slowest-steps.sh; exit $$ended

.PHONY: core-tests store-tests
core-tests store-tests: PROFILE := --release
core-tests store-tests: export XTASK := $(TARGET)/release/xtask
core-tests: $(CORE_TESTS)
store-tests: $(STORE_TESTS)

.PHONY: setup
setup: ## install what the tests need and is missing
	@scripts/setup.sh test minio versitygw deny

.PHONY: setup-core
setup-core:
	@scripts/setup.sh test

.PHONY: build
build: ## build the library and the test programs
	$(STEP) "build: library, embedded store, tests" cargo build -q --release --all-targets

.PHONY: build-c
build-c: setup build
	$(STEP) "build: C" $(MAKE) -C bindings/c

.PHONY: build-python
build-python: setup-core build
	$(STEP) "build: Python" env S3VAULT_BUILD_LIBRARY=$(LIBRARY) $(PYTHON) -m pip install -q --disable-pip-version-check \
	  --no-build-isolation --no-deps --force-reinstall ./bindings/python

.PHONY: build-java
build-java: setup build
	$(STEP) "build: Java" $(MAVEN) -q package -DskipTests

.PHONY: test-scripts
test-scripts: setup-core ## check the scripts with shellcheck, and Python with ruff and mypy
	$(STEP) "scripts, shellcheck" build/venv/bin/shellcheck -x scripts/*.sh scripts/stores/*.sh .ci/run
	$(STEP) "Python, ruff" build/venv/bin/ruff check -q bindings/python tests/system tests/bench
	$(STEP) "Python, mypy" bash -c 'cd bindings/python && ../../build/venv/bin/mypy'
	$(STEP) "Python system tests, mypy" build/venv/bin/mypy --config-file tests/system/mypy.ini tests/system

# --locked: each bench has a Cargo.lock of its own, which must fit the project's crates. `make deep` compiles the clients.
.PHONY: test-bench
test-bench: setup-core ## check that the benches' Cargo.lock fit, and the client in Go
	$(STEP) "bench, Cargo.lock" bash -c 'for bench in bench bench-parse bench-sign; do \
	  cargo metadata --locked --format-version 1 --manifest-path tests/$$bench/Cargo.toml >/dev/null || exit 1; done'
	$(STEP) "bench, client in Go" go -C tests/bench/go vet ./...

.PHONY: test-simulator
test-simulator: setup-core ## run core with a model store and a fake clock: 2,000 seeds, 2,000 sequences in all modes, and mutations that they must find
	$(STEP) "simulator, 2,000 seeds and 2,000 sequences" cargo test -q --release $(addprefix --test ,$(SIMULATOR_TESTS))
	$(STEP) "simulator, mutations" cargo test -q --release --features simulator/mutations --test mutations

.PHONY: test-oracle
test-oracle: setup-core build ## compare core's signatures, checksums, keys and age files with those of botocore, awscrt, cryptography and C2SP
	$(STEP) "oracle, botocore, awscrt and cryptography" $(PYTHON) tests/oracle/oracle.py $(TARGET)/release/oracle
	$(STEP) "age, C2SP's test vectors" $(PYTHON) tests/oracle/age.py $(TARGET)/release/oracle

.PHONY: test-credentials
test-credentials: setup-core ## compare the keys that core finds in the environment and the shared files with botocore's
	$(STEP) "credentials, botocore" $(PYTEST) -q core/tests/botocore_credentials.py

.PHONY: test-abi
test-abi: build ## compare the functions and structs of the header, the C compiler, the library, Python and Java
	$(STEP) "ABI" $(XTASK) abi-check

.PHONY: test-wasm
test-wasm: setup-core ## run core's tests on wasm32 under Node
	$(STEP) "core on wasm32, Node" $(XTASK) wasm-test

.PHONY: test-units
test-units: setup-core build ## run Rust's tests that need no server: core's, and those of the library and the tools
	$(STEP) "units, Rust" cargo test -q --release --lib --bins $(addprefix --test ,$(UNIT_TESTS))
	$(STEP) "units, documentation" cargo test -q --release -p s3vault-core --doc

.PHONY: test-callers
test-callers: setup-core build build-python ## run the tests of C, Python and Java that need no server
	$(STEP) "units, C" $(MAKE) -C bindings/c header-test
	$(STEP) "units, Python" $(PYTEST) -q bindings/python/tests -m without_store
	$(STEP) "units, Java" $(MAVEN) -q test -Dtest=SigningTest

.PHONY: test-store
test-store: setup build ## test the embedded store with boto3
	$(STEP) "embedded store, boto3" env EMBEDDED_STORE=$(TARGET)/release/embedded-store $(PYTEST) -q tests/store/tests/boto3_store.py

.PHONY: test-rust
test-rust: setup build ## run Rust's tests that need a store, and the shared cases
	$(STEP) "Rust, embedded store" $(WITH) embedded -- cargo test --release $(addprefix --test ,$(RUST_TESTS)) $(WITHOUT_LOOP)
	$(STEP) "Rust, MinIO" $(WITH) minio -- cargo test --release --test cases
	$(STEP) "Rust, embedded store, reqwest" env S3VAULT_TRANSPORT=reqwest $(WITH) embedded -- \
	  cargo test --release --test cases --test operations --test faults --test downloads --test resume
	$(STEP) "Rust, driver, reqwest" env S3VAULT_TRANSPORT=reqwest cargo test -q --release --lib driver::
	$(STEP) "Rust, MinIO, reqwest" env S3VAULT_TRANSPORT=reqwest $(WITH) minio -- cargo test --release --test cases
	$(STEP) "Rust, library without reqwest" cargo check -q --release -p s3vault --no-default-features

# The other modes run on the stores that have what they need; versitygw has no versioning. make deep has more of them.
.PHONY: test-modes
test-modes: setup build-python build-c ## run the shared cases of all callers with emulated versions and with a bucket per container
	$(STEP) "Rust, embedded store, emulated" $(WITH) embedded:emulated -- cargo test -q --release --test cases
	$(STEP) "Rust, MinIO, emulated" $(WITH) minio:emulated -- cargo test -q --release --test cases
	$(STEP) "Rust, MinIO, bucket per container" $(WITH) minio:per-vm -- cargo test -q --release --test cases
	$(STEP) "Rust, versitygw, emulated" $(WITH) versitygw:emulated -- cargo test -q --release --test cases
	$(STEP) "Python, embedded store, bucket per container" $(WITH) embedded:per-vm -- $(PYTEST) -q bindings/python/tests/test_cases.py
	$(STEP) "C, embedded store, emulated" $(WITH) embedded:emulated -- $(MAKE) -C bindings/c test-cases
	$(STEP) "Java, embedded store, bucket per container, emulated" $(WITH) embedded:per-vm-emulated -- $(MAVEN) -q test -Dtest=CasesTest

# test-rust runs the operations on the embedded store.
.PHONY: test-operations
test-operations: setup build ## run each S3 operation on MinIO and versitygw; altered requests must be refused
	$(STEP) "operations, MinIO" $(WITH) minio -- cargo test --release --test operations
	$(STEP) "operations, versitygw" $(WITH) versitygw -- cargo test --release --test operations
	$(STEP) "altered requests, MinIO" $(WITH) minio -- $(PYTHON) tests/oracle/altered.py $(TARGET)/release/oracle
	$(STEP) "altered requests, versitygw" $(WITH) versitygw -- $(PYTHON) tests/oracle/altered.py $(TARGET)/release/oracle

.PHONY: test-c
test-c: build-c ## compile the header as C99 and C++17, run the shared cases from C, and the example under valgrind
	$(STEP) "C, embedded store" $(WITH) embedded -- $(MAKE) -C bindings/c test
	$(STEP) "C under valgrind" $(WITH) embedded -- $(MAKE) -C bindings/c valgrind

.PHONY: test-python
test-python: setup build-python ## run Python's tests and the shared cases
	$(STEP) "Python, embedded store" $(WITH) embedded -- $(PYTEST) bindings/python/tests
	$(STEP) "Python, MinIO" $(WITH) minio -- $(PYTEST) bindings/python/tests

.PHONY: test-java
test-java: setup build ## run Java's tests and the shared cases, and adopt what is stored under SSE-C on MinIO
	$(STEP) "Java, embedded store" $(WITH) embedded -- $(MAVEN) verify
	$(STEP) "Java, MinIO, SSE-C" $(WITH) minio -- $(MAVEN) -q test -Dtest=AdoptSseCIT

.PHONY: page
page: ## build the verification page: bindings/web/dist/s3vault-verify.html
	@scripts/setup.sh rust wasm node
	@cd bindings/web && npm ci --silent --no-audit --no-fund
	$(STEP) "build: page" npm --silent --prefix bindings/web run build

.PHONY: test-web
test-web: setup build-python ## test the verification page in Chromium, and the wasm package under Node
	@cd bindings/web && npm ci --silent --no-audit --no-fund
	$(STEP) "page, Chromium" $(WITH) embedded -- scripts/page_backup.sh 256 npm --prefix bindings/web test

.PHONY: test-killed
test-killed: build-c build-python build-java ## kill uploads: no list shows them
	$(STEP) "killed uploads, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_killed_upload.py

.PHONY: test-resumed
test-resumed: build-c build-python ## kill puts at random moments: they resume, files and streams
	$(STEP) "killed puts resume, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_killed_resume.py

.PHONY: test-broken
test-broken: setup build-python ## run 64 transfers at once over a line that breaks one connection in ten, and two while the store is away
	$(STEP) "broken line, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_broken_line.py
	$(STEP) "store that is away, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_outage.py

.PHONY: test-memory
test-memory: build-c build-python build-java ## measure the peak memory of files, streams and 1,000 transfers at once
	@$(MAKE) -C bindings/c build/memory
	$(STEP) "memory, embedded store" $(WITH) embedded -- $(PYTEST) tests/system/test_memory.py
	$(STEP) "memory, embedded store over TLS, 100 ms away" env EMBEDDED_SCHEME=https $(WITH) embedded -- \
	  $(PYTEST) tests/system/test_memory.py -k "not 1000 and not other" --delay 100 --mib 1024

.PHONY: test-many
test-many: setup build-python ## list, prune, sweep and verify a vault of 20,000 versions: exact requests, and memory that does not grow
	$(STEP) "many versions, embedded store" $(WITH) embedded -- $(PYTEST) tests/system/test_many_versions.py
	$(STEP) "many versions, embedded store, emulated" $(WITH) embedded:emulated -- \
	  $(PYTEST) tests/system/test_many_versions.py --versions 4000

.PHONY: test-refusals
test-refusals: build-c build-python build-java ## check that each caller reports a bad certificate and a full disk
	$(STEP) "refusals, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_refusals.py

.PHONY: test-rights
test-rights: setup build-python ## run each subcommand with exactly the permissions that the README lists, and without each of them
	$(STEP) "permissions, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_rights.py

.PHONY: test-hostile
test-hostile: setup build-python ## answer the command with endless, slow and false replies: each call ends, with a safe message
	$(STEP) "hostile store, embedded store" $(WITH) embedded -- $(PYTEST) tests/system/test_hostile_store.py

.PHONY: test-stores
test-stores: setup build-python ## store with default settings on stores that have less than S3, or get it wrong: what is stored is restored
	$(STEP) "stores of all kinds, embedded store" $(WITH) embedded -- $(PYTEST) tests/system/test_stores.py

.PHONY: test-sse-c
test-sse-c: setup build-python ## store under SSE-C on MinIO: boto3 reads the data with its key only; versitygw ignores keys, and gets no backup
	$(STEP) "SSE-C, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_sse_c.py
	$(STEP) "SSE-C, MinIO, emulated" $(WITH) minio:emulated -- $(PYTEST) tests/system/test_sse_c.py
	$(STEP) "SSE-C, versitygw" $(WITH) versitygw:emulated -- $(PYTEST) tests/system/test_sse_c.py

.PHONY: test-reader
test-reader: setup build-python ## restore backups of every mode with a reader of 60 lines that knows the format page only
	$(STEP) "reader, embedded store" $(WITH) embedded -- $(PYTEST) tests/system/test_reader.py
	$(STEP) "reader, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_reader.py

.PHONY: test-encrypted
test-encrypted: setup build ## run the shared cases with encrypted data: SSE-C on MinIO, envelope on versitygw
	$(STEP) "Rust, MinIO, SSE-C" env S3VAULT_ENCRYPTION=sse-c $(WITH) minio -- cargo test -q --release --test cases
	$(STEP) "Rust, versitygw, emulated, envelope" env S3VAULT_ENCRYPTION=envelope $(WITH) versitygw:emulated -- \
	  cargo test -q --release --test cases

.PHONY: test-store-keys
test-store-keys: setup build-python ## store with the keys of the store (SSE-S3, SSE-KMS): MinIO encrypts all of it; versitygw ignores it, and gets no backup
	$(STEP) "SSE-S3 and SSE-KMS, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_store_keys.py
	$(STEP) "SSE-S3 and SSE-KMS, versitygw" $(WITH) versitygw:emulated -- $(PYTEST) tests/system/test_store_keys.py

.PHONY: test-envelope
test-envelope: setup build-python ## store encrypted backups with the command, open them with a decryptor of 50 lines
	$(STEP) "envelope, embedded store" $(WITH) embedded -- $(PYTEST) tests/system/test_envelope.py
	$(STEP) "envelope, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_envelope.py
	$(STEP) "envelope, versitygw, emulated" $(WITH) versitygw:emulated -- $(PYTEST) tests/system/test_envelope.py

.PHONY: test-rotation
test-rotation: setup build-python ## rotate 1,000 versions and re-key 1 GiB on MinIO, killed three times; make deep: 10,000 and 20 GiB
	$(STEP) "rotation, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_rotation.py
	$(STEP) "re-keying, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_rekey.py

.PHONY: test-disaster
test-disaster: setup build-python ## lose everything but a bucket, an escrow file and its passphrase, and follow docs/disaster-recovery.md and docs/recovery-without-s3vault.md
	$(STEP) "disaster recovery, embedded store" $(WITH) embedded -- $(PYTEST) tests/system/test_disaster.py
	$(STEP) "disaster recovery, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_disaster.py
	$(STEP) "recovery without s3vault, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_recovery_without.py

.PHONY: test-verify
test-verify: setup build-python ## verify and adopt by the command and in Python: what they print, and how they end
	$(STEP) "verify and adopt, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_verification.py tests/system/test_adopt_sse_c.py

.PHONY: test-retention
test-retention: setup build-python ## store a changing image for 100 days, prune it, sweep, restore each chain that stays
	$(STEP) "100 days of retention, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_retention.py
	$(STEP) "100 days of retention, versitygw, emulated" $(WITH) versitygw:emulated -- $(PYTEST) tests/system/test_retention.py

.PHONY: test-buckets
test-buckets: setup build-python ## buckets with locks, suspended versioning, thousands of versions of a key; boto3 reads the newest by its plain key
	$(STEP) "buckets of the field, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_odd_buckets.py tests/system/test_locks.py \
	  tests/system/test_plain_key.py
	$(STEP) "plain key, MinIO, bucket per container" $(WITH) minio:per-vm -- $(PYTEST) tests/system/test_plain_key.py

.PHONY: test-secrets
test-secrets: build-c build-python build-java ## search the memory of C, Python and Java processes for secrets after they freed everything
	@$(MAKE) -C bindings/c build/secrets
	$(STEP) "secrets, embedded" $(WITH) embedded -- $(PYTEST) tests/system/test_secrets.py
	$(STEP) "secrets, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_secrets.py

.PHONY: test-explain
test-explain: setup build-python ## find from the store's error what changed a request on its way
	$(STEP) "explain, versitygw" $(WITH) versitygw -- $(PYTHON) tests/oracle/explained.py

.PHONY: test-cross
test-cross: build-c build-python build-java ## store with each caller on MinIO, restore with every other
	$(STEP) "cross-callers, MinIO" $(WITH) minio -- $(PYTEST) tests/system/test_cross_callers.py

# Each bench is a workspace of its own, so that its peers are no dependencies of the project.
.PHONY: bench-sign
bench-sign: ## measure nanoseconds per signature, next to other signers and the bare hashes
	@scripts/setup.sh rust python
	cargo build -q --release --manifest-path tests/bench-sign/Cargo.toml --target-dir $(TARGET)/bench-sign
	@$(PYTHON) tests/bench-sign/bench_sign.py $(TARGET)/bench-sign/release/bench-sign

.PHONY: bench-parse
bench-parse: ## measure how fast a listing is parsed, in memory and from the embedded store
	@scripts/setup.sh rust
	cargo build -q --release --locked -p embedded-store
	cargo build -q --release --manifest-path tests/bench-parse/Cargo.toml --target-dir $(TARGET)/bench-parse
	@$(WITH) embedded -- $(TARGET)/bench-parse/release/bench-parse

.PHONY: bench
bench: ## compare s3vault with other clients, up and down: half an hour; ARGS="--size 64M --rounds 1" is a quick look
	@scripts/setup.sh bench
	@scripts/bench.sh $(ARGS)

.PHONY: bench-retention
bench-retention: ## compare prune and sweep with restic, kopia and rclone, for 2,000 versions of which a tenth stays: ten minutes
	@scripts/setup.sh bench backups python
	@scripts/bench-retention.sh $(ARGS)

.PHONY: bench-encryption
bench-encryption: ## compare what encryption costs with restic, kopia, rclone crypt and minio-go, up and down: half an hour
	@scripts/setup.sh bench backups minio python
	@scripts/bench-encryption.sh $(ARGS)

.PHONY: deep
deep: ## run the long tests (hours, restartable) and write docs/proof.md; SLICES="NAME..." runs some
	@scripts/setup.sh deep
	@scripts/deep.sh $(SLICES)

.PHONY: release
release: ## build all packages of the version in Cargo.toml into build/release
	@scripts/setup.sh release
	@scripts/release.sh

.PHONY: clean
clean: ## remove what was built
	rm -rf build bindings/c/build bindings/java/target bindings/web/node_modules
	cargo clean
