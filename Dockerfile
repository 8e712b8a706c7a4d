# One image per service: docker build --target ingest|scheduler|console|runner .
# The three base images below are all that is pulled; the versions of everything else are in Cargo.lock and here. What changes
# often comes last, so that a change of a source builds the crates of this repository again and nothing else.

# What cargo needs to build what ours depends on: manifests, and next to nothing as each crate's source. A change of a source
# comes as far as here; the stage below begins anew only where something that is left here is another.
FROM rust:1.95-bookworm AS manifests
WORKDIR /src
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -path './.cargo/*' ! -path '*/src/lib.rs' ! -path '*/src/main.rs' \
      ! -name build.rs -delete \
 && find . -name '*.rs' | while read -r source; do echo 'fn main() {}' >"$source"; done \
 && find . -type d -empty -delete

FROM rust:1.95-bookworm AS build
WORKDIR /src
# Paths of the build folder would make two builds of one commit differ; the lines of the source are most of what a program weighs.
ENV RUSTFLAGS="--remap-path-prefix=/src=/orch --remap-path-prefix=/usr/local/cargo=/cargo" CARGO_INCREMENTAL=0 \
    CARGO_PROFILE_RELEASE_STRIP=symbols
COPY --from=manifests /src .
# What became of the empty sources goes again: they may be newer than the real ones, which cargo would take for built.
RUN cargo ship && cargo clean --release --workspace
COPY . .
RUN cargo ship \
 && install -D -t /out target/release/orch target/release/orch-ingest target/release/orch-scheduler \
      target/release/orch-console target/release/orch-runner

# The claude CLI is one native program in a package of its platform; npm is needed to fetch and check it, not to run it,
# and no script of a package is run.
FROM node:22-bookworm-slim AS claude
ARG CLAUDE_VERSION=2.1.330
RUN npm install --prefix /cli --ignore-scripts --no-audit --no-fund "@anthropic-ai/claude-code@${CLAUDE_VERSION}" \
 && install -D -m 0755 -t /out /cli/node_modules/@anthropic-ai/claude-code-linux-*/claude \
 && test "$(/out/claude --version)" = "${CLAUDE_VERSION} (Claude Code)"

FROM debian:bookworm-slim AS base
# curl asks /readyz for the health checks; tini passes signals on and buries what agents leave behind.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --home-dir /var/lib/orch orch \
 && install -d -o orch -g orch -m 0750 /var/lib/orch /var/lib/orch-ca /var/lib/orch-join \
      /var/lib/orch-certs/ingest /var/lib/orch-certs/console /var/lib/orch-certs/prometheus /var/lib/orch-prometheus
WORKDIR /var/lib/orch
ENTRYPOINT ["/usr/bin/tini", "--"]
LABEL org.opencontainers.image.title="Orch" \
      org.opencontainers.image.description="A durable scheduler for coding agents" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM base AS ingest
COPY --from=build /out/orch /out/orch-ingest /usr/local/bin/
USER orch
VOLUME /var/lib/orch
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=6 \
  CMD curl -fsS http://127.0.0.1:8080/readyz
CMD ["orch-ingest"]

# With certificates the port of gRPC answers https, else http: whoever asks /readyz needs none of his own.
FROM base AS scheduler
# One heap for all threads: with one for each, what one of them frees the others do not get (docs/PERFORMANCE.md).
ENV MALLOC_ARENA_MAX=1
COPY --from=build /out/orch /out/orch-scheduler /usr/local/bin/
USER orch
VOLUME /var/lib/orch
EXPOSE 7070
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=6 \
  CMD curl -fsk https://127.0.0.1:7070/readyz || curl -fsS http://127.0.0.1:7070/readyz
CMD ["orch-scheduler"]

FROM base AS console
COPY --from=build /out/orch /out/orch-console /usr/local/bin/
USER orch
VOLUME /var/lib/orch
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=6 \
  CMD curl -fsS http://127.0.0.1:8081/readyz
CMD ["orch-console"]

FROM base AS runner
# git and procps are for the agents as well as for Orch.
RUN apt-get update \
 && apt-get install -y --no-install-recommends git git-lfs openssh-client procps \
 && rm -rf /var/lib/apt/lists/*
COPY --from=claude /out/claude /usr/local/bin/
COPY --from=build /out/orch /out/orch-runner /usr/local/bin/
USER orch
VOLUME /var/lib/orch
EXPOSE 7071
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=6 \
  CMD curl -fsk https://127.0.0.1:7071/readyz || curl -fsS http://127.0.0.1:7071/readyz
CMD ["orch-runner"]
