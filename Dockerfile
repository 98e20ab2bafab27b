# The server and its command line. Any builder will do, with or without BuildKit:
#
#   docker build -t lockstead .
#   buildah build --format docker -t lockstead .      # docker's format is the one with health checks
#
# It serves nobody until it is told whom: LOCKSTEAD_ACCESS names an access file (docs/access.md), LOCKSTEAD_INSECURE=true serves
# everybody. It writes nothing, and needs neither root nor capabilities:
#
#   docker run --read-only --cap-drop ALL -e LOCKSTEAD_INSECURE=true -p 127.0.0.1:7420:7420 lockstead

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
# Dependencies first, by the manifests alone and with nothing in the crates: this layer stays until a manifest changes.
COPY Cargo.toml Cargo.lock ./
COPY server/api/Cargo.toml server/api/
COPY server/clock/Cargo.toml server/clock/
COPY server/core/Cargo.toml server/core/
COPY server/engine/Cargo.toml server/engine/
COPY server/lockstead/Cargo.toml server/lockstead/
COPY server/tasks/Cargo.toml server/tasks/
COPY sdk/rust/Cargo.toml sdk/rust/
COPY tests/Cargo.toml tests/
# A backtrace needs the names of functions, but their lines are most of the program's size.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
RUN for crate in server/* sdk/rust; do mkdir "$crate/src" && touch "$crate/src/lib.rs" || exit; done \
    && echo 'fn main() {}' > server/api/build.rs && cp server/api/build.rs server/lockstead/src/main.rs \
    && cargo build --release --locked --package lockstead \
    # What was empty must not be taken for what comes now: cargo looks at times, and the files to come are older.
    && rm -r target/release/.fingerprint/lockstead*
COPY proto proto
COPY sdk/rust sdk/rust
COPY server server
RUN cargo build --release --locked --package lockstead \
    && mkdir /out && cp target/release/lockstead /etc/ssl/certs/ca-certificates.crt /out/

FROM docker.io/library/debian:bookworm-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Lockstead" \
      org.opencontainers.image.description="Named locks and semaphores for programs on many machines" \
      org.opencontainers.image.source="https://github.com/lockstead/lockstead" \
      org.opencontainers.image.documentation="https://github.com/lockstead/lockstead/blob/main/docs/operations.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# To check the certificates of Redis and of issuers of tokens, where no others are named.
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/lockstead /usr/local/bin/
ENV LOCKSTEAD_LISTEN=0.0.0.0:7420 \
    LOCKSTEAD_MONITOR_LISTEN=0.0.0.0:7421
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 7420 7421
# It drains at SIGTERM: give it LOCKSTEAD_DRAIN_TIMEOUT (10s) and a few seconds more (docker stop --time 15).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["sh", "-c", "exec lockstead ready --server http://127.0.0.1:${LOCKSTEAD_MONITOR_LISTEN##*:}"]
ENTRYPOINT ["lockstead"]
CMD ["serve"]
