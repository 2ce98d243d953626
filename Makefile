# s3vault. `make` alone lists the commands.
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
PYTHON := build/venv/bin/python
MAVEN := mvn -B -ntp -f bindings/java -Ds3vault.library=$(TARGET)/release/libs3vault.so
STEP := @scripts/step.sh
WITH := scripts/with-store.sh
WASM := --target wasm32-unknown-unknown

# Two cores: cargo, Maven and the servers fill them as it is.
.NOTPARALLEL:

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: ## stores a disk image twice, restores both versions by another caller, and shows what it took
	@scripts/setup.sh demo
	@scripts/demo.sh

.PHONY: check
check: ## format, lints, core's tests, generated files: a minute when warm
	@scripts/setup.sh check
	$(STEP) "format" cargo fmt --all --check
	$(STEP) "lints" cargo clippy -q --all-targets -- -D warnings
	$(STEP) "lints, wasm package" cargo clippy -q -p s3vault-wasm $(WASM) -- -D warnings
	$(STEP) "lints, wasm tasks" cargo clippy -q -p xtask --features wasm -- -D warnings
	$(STEP) "core" cargo test -q -p s3vault-core
	$(STEP) "generated files" cargo xtask generate --check

# The servers' builds (once per machine) run beside ours.
.PHONY: test
test: ## check, and every caller on the embedded store and on MinIO over TLS, and the page in Chromium
	@scripts/setup.sh test
	@scripts/setup.sh minio versitygw & servers=$$!; $(MAKE) build; built=$$?; wait $$servers && exit $$built
	@$(MAKE) -k all-tests

.PHONY: all-tests
all-tests: check test-simulator test-abi test-oracle test-store test-credentials test-rust test-operations test-wasm test-c test-python test-java test-web test-killed test-resumed test-broken test-memory test-refusals test-explain test-cross

.PHONY: setup
setup: ## installs what the tests need and is missing here
	@scripts/setup.sh test minio versitygw

.PHONY: build
build: ## the library and the tests' programs, release
	$(STEP) "build: library, embedded store, oracle" cargo build -q --release -p s3vault -p embedded-store -p oracle

.PHONY: build-c
build-c: setup build
	$(STEP) "build: C" $(MAKE) -C bindings/c

.PHONY: build-python
build-python: setup
	$(STEP) "build: Python" $(PYTHON) -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps \
	  --force-reinstall ./bindings/python

.PHONY: build-java
build-java: setup build
	$(STEP) "build: Java" $(MAVEN) -q package -DskipTests

.PHONY: test-simulator
test-simulator: setup ## core's machines against a model store and a fake clock: 2,000 seeds, and mutations that they must find
	$(STEP) "simulator, 2,000 seeds" cargo run -q --release -p simulator -- --seeds 2000
	$(STEP) "simulator, its own tests" cargo test -q --release -p simulator
	$(STEP) "simulator, planted mutations" cargo test -q --release -p simulator --features planted --test planted

.PHONY: test-oracle
test-oracle: setup build ## botocore and awscrt judge core's signatures and checksums
	$(STEP) "oracle, botocore and awscrt" $(PYTHON) tests/oracle/oracle.py $(TARGET)/release/oracle

.PHONY: test-store
test-store: setup build ## boto3 judges the embedded store
	$(STEP) "embedded store, boto3" env EMBEDDED_STORE=$(TARGET)/release/embedded-store $(PYTHON) -m pytest -q tests/store/tests/boto3_store.py

.PHONY: test-credentials
test-credentials: setup ## botocore finds the same keys in the environment and the shared files
	$(STEP) "credentials, botocore" $(PYTHON) -m pytest -q core/tests/botocore_credentials.py

.PHONY: test-rust
test-rust: setup build ## Rust's tests and the shared cases
	$(STEP) "Rust, embedded store" $(WITH) embedded -- cargo test -p s3vault -p s3vault-fuzz -p embedded-store -p xtask
	$(STEP) "Rust, MinIO" $(WITH) minio -- cargo test -p s3vault --test cases

# On the embedded store test-rust runs the operations.
.PHONY: test-operations
test-operations: setup build ## each S3 operation on MinIO and versitygw; what core signed is accepted, and refused when altered
	$(STEP) "operations, MinIO" $(WITH) minio -- cargo test -p s3vault --test operations
	$(STEP) "operations, versitygw" $(WITH) versitygw -- cargo test -p s3vault --test operations
	$(STEP) "altered requests, MinIO" $(WITH) minio -- $(PYTHON) tests/oracle/altered.py $(TARGET)/release/oracle
	$(STEP) "altered requests, versitygw" $(WITH) versitygw -- $(PYTHON) tests/oracle/altered.py $(TARGET)/release/oracle

.PHONY: test-abi
test-abi: build ## header, library, Python's and Java's tables name the same functions
	$(STEP) "ABI" cargo xtask abi-check

.PHONY: test-wasm
test-wasm: setup ## core's tests on wasm32 under Node
	$(STEP) "core on wasm32, Node" cargo xtask wasm-test

.PHONY: test-c
test-c: build-c ## the header as C99 and C++17, the shared cases from C, the example under valgrind
	$(STEP) "C, embedded store" $(WITH) embedded -- $(MAKE) -C bindings/c test
	$(STEP) "C, MinIO" $(WITH) minio -- $(MAKE) -C bindings/c test
	$(STEP) "C under valgrind" $(WITH) embedded -- $(MAKE) -C bindings/c valgrind

.PHONY: test-python
test-python: build-python build ## Python's tests and the shared cases
	$(STEP) "Python, embedded store" $(WITH) embedded -- $(PYTHON) -m pytest bindings/python/tests
	$(STEP) "Python, MinIO" $(WITH) minio -- $(PYTHON) -m pytest bindings/python/tests

.PHONY: test-java
test-java: setup build ## Java's tests and the shared cases
	$(STEP) "Java, embedded store" $(WITH) embedded -- $(MAVEN) verify
	$(STEP) "Java, MinIO" $(WITH) minio -- $(MAVEN) verify

.PHONY: page
page: ## builds the verification page: bindings/web/dist/s3vault-verify.html
	@scripts/setup.sh rust wasm node
	@cd bindings/web && npm ci --silent --no-audit --no-fund
	$(STEP) "build: page" npm --silent --prefix bindings/web run build

.PHONY: test-web
test-web: setup build-python build ## the verification page in Chromium, and the wasm package under Node
	@cd bindings/web && npm ci --silent --no-audit --no-fund
	$(STEP) "page, Chromium" $(WITH) embedded -- scripts/page_backup.sh npm --prefix bindings/web test

.PHONY: test-killed
test-killed: build-c build-python build-java ## an upload that is killed leaves nothing that a list shows
	$(STEP) "killed uploads, MinIO" $(WITH) minio -- $(PYTHON) scripts/killed_upload.py

.PHONY: test-resumed
test-resumed: build-c build-python ## puts that are killed at random moments go on, files and streams
	$(STEP) "killed puts go on, MinIO" $(WITH) minio -- $(PYTHON) scripts/killed_resume.py --rounds 20 --mib 256

.PHONY: test-broken
test-broken: build-python build ## 64 transfers at once over a line that breaks one connection in ten
	$(STEP) "broken line, MinIO" $(WITH) minio -- $(PYTHON) scripts/breaking_proxy.py --mib 10 --shares 0,10

.PHONY: test-memory
test-memory: build-c build-python build-java ## peak memory of files, streams and 1,000 transfers at once
	@$(MAKE) -C bindings/c build/memory
	$(STEP) "memory, embedded store" $(WITH) embedded -- $(PYTHON) scripts/memory.py
	$(STEP) "memory, embedded store over TLS, 100 ms away" env EMBEDDED_SCHEME=https $(WITH) embedded -- $(PYTHON) scripts/memory.py --delay 100 --mib 1024

.PHONY: test-refusals
test-refusals: build-c build-python build-java ## an untrusted certificate and a full disk: the same from each caller
	$(STEP) "refusals, MinIO" $(WITH) minio -- $(PYTHON) scripts/refusals.py

.PHONY: test-explain
test-explain: build-python ## what changed a request on its way is found from the store's refusal
	$(STEP) "explain, versitygw" $(WITH) versitygw -- $(PYTHON) tests/oracle/explained.py

.PHONY: test-cross
test-cross: build-c build-python build-java ## 1 GiB by each caller on MinIO, restored by every other
	$(STEP) "cross-callers, MinIO" $(WITH) minio -- $(PYTHON) scripts/cross_callers.py

# The peers are no dependencies of the project: the bench is a workspace of its own.
.PHONY: bench-sign
bench-sign: ## nanoseconds per signature, beside other signers and the bare hashes
	@scripts/setup.sh rust python
	cargo build -q --release --manifest-path tests/bench-sign/Cargo.toml --target-dir $(TARGET)/bench-sign
	@$(PYTHON) tests/bench-sign/bench_sign.py $(TARGET)/bench-sign/release/bench-sign

# A workspace of its own too: the bench is built for speed, and no test waits for it.
.PHONY: bench-parse
bench-parse: ## rows per second of a listing, parsed in memory and end to end from the embedded store
	@scripts/setup.sh rust
	cargo build -q --release --locked -p embedded-store
	cargo build -q --release --manifest-path tests/bench-parse/Cargo.toml --target-dir $(TARGET)/bench-parse
	@$(WITH) embedded -- $(TARGET)/bench-parse/release/bench-parse

# A workspace of its own, as bench-sign: its peers never come along.
.PHONY: bench
bench: ## s3vault beside other clients, up and down, in turns: half an hour; ARGS="--size 64M --rounds 1" for a look
	@scripts/setup.sh bench
	@scripts/bench.sh $(ARGS)

.PHONY: deep
deep: ## the long forms: hours; restartable; writes docs/proof.md
	@scripts/setup.sh deep
	@$(MAKE) build-c build-python build-java
	@scripts/deep.sh $(SLICES)

.PHONY: clean
clean: ## removes what was built
	rm -rf build bindings/c/build bindings/java/target bindings/web/node_modules
	cargo clean
