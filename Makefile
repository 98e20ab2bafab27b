# `make run` and `make test` are all that a newcomer needs. `make verify` checks everything and changes nothing; `make fix`
# is its twin that mends what can be mended. CI runs `make test`, which is `make verify` on a machine made ready for it.

.PHONY: run test verify fix setup bench compare faults

run: ## Serve at 127.0.0.1:7420, in memory
	cargo run --release

test: setup verify ## Install what the tests need, then run everything

setup: ## Install what the tests need; quick when all is there
	tests/setup

verify: ## Check everything, change nothing
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	tests/node_modules/.bin/buf lint proto
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	tests/run

fix: ## Format, apply lint suggestions, refresh checked-in files
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all
	LOCKSTEAD_BLESS=1 cargo test --package lockstead --lib checked_in
	LOCKSTEAD_BLESS=1 cargo test --workspace --test deploy checked_in

bench: ## How fast, beside a bare echo
	cargo run --release -- bench

compare: ## How fast, beside its peers and its limits, in minutes; DOCS=docs refreshes docs/performance.*
	tests/bench/setup
	cargo build --workspace --bins --examples --release --locked
	$${CARGO_TARGET_DIR:-target}/release/lockstead-compare $(if $(DOCS),--docs $(DOCS)) $(ARGS)

faults: ## Break servers, clients and Redis for a while, and check what the clients saw; SEED=… SECONDS=… TOPOLOGY=… ONLY=…
	cargo build --workspace --bins --examples --locked
	$${CARGO_TARGET_DIR:-target}/debug/lockstead-faults $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(TOPOLOGY),--topology $(TOPOLOGY)) $(if $(ONLY),--only '$(ONLY)')
