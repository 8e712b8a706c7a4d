# One image per service: docker build --target ingest|scheduler|console|runner .

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --workspace --exclude sim --bins --locked \
 && install -D -t /out target/release/orch target/release/orch-ingest target/release/orch-scheduler \
      target/release/orch-console target/release/orch-runner

# The claude CLI is one native program; npm is needed to fetch and check it, not to run it.
FROM node:22-bookworm-slim AS claude
ARG CLAUDE_VERSION=2.1.330
RUN npm install --prefix /cli --no-audit --no-fund "@anthropic-ai/claude-code@${CLAUDE_VERSION}" \
 && install -D -m 0755 /cli/node_modules/@anthropic-ai/claude-code/bin/claude.exe /out/claude \
 && test "$(/out/claude --version)" = "${CLAUDE_VERSION} (Claude Code)"

FROM debian:bookworm-slim AS base
# curl asks /readyz for the health checks.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --home-dir /var/lib/orch orch \
 && install -d -o orch -g orch -m 0750 /var/lib/orch
COPY --from=build /out/orch /usr/local/bin/
WORKDIR /var/lib/orch
VOLUME /var/lib/orch

FROM base AS ingest
COPY --from=build /out/orch-ingest /usr/local/bin/
USER orch
EXPOSE 8080
CMD ["orch-ingest"]

FROM base AS scheduler
COPY --from=build /out/orch-scheduler /usr/local/bin/
USER orch
EXPOSE 7070
CMD ["orch-scheduler"]

FROM base AS console
COPY --from=build /out/orch-console /usr/local/bin/
USER orch
EXPOSE 8081
CMD ["orch-console"]

FROM base AS runner
# git and procps are for the agents as well as for Orch.
RUN apt-get update \
 && apt-get install -y --no-install-recommends git git-lfs openssh-client procps \
 && rm -rf /var/lib/apt/lists/*
COPY --from=claude /out/claude /usr/local/bin/
COPY --from=build /out/orch-runner /usr/local/bin/
USER orch
EXPOSE 7071
CMD ["orch-runner"]
