# Makes stand-ins for the base images that the Dockerfile and docker-compose.yml name; packaging/test-compose.sh sources it.
# Debian comes from debootstrap, with the packages that a Dockerfile may install as an archive of its own: nothing inside
# reaches a network. The rest is that Debian with this machine's toolchain, or with Debian's PostgreSQL and Prometheus.
# shellcheck shell=bash

# Outside, with a network: Debian and the packages, into the folder.
fetch_bases() { # folder, whether cargo and npm are to be real
  local folder=$1 rootfs=${ORCH_TEST_ROOTFS:-} debian="$1/debian"
  if [ -z "$rootfs" ]; then
    rootfs="$folder/rootfs"
    debootstrap --variant=minbase bookworm "$rootfs" >"$folder/debootstrap.log"
  fi
  cp -a "$rootfs" "$debian"
  cp /etc/resolv.conf "$debian/etc/resolv.conf"
  chroot "$debian" apt-get update -qq
  download "$folder" base ca-certificates curl tini git git-lfs openssh-client procps
  download "$folder" postgres postgresql-15
  download "$folder" prometheus prometheus
  if $2; then download "$folder" build build-essential; fi
  rm -rf "$debian"
  cp -a "$rootfs" "$debian"
  rm -rf "$debian"/var/lib/apt/lists/* "$debian"/var/cache/apt/*
  mv "$folder/debs/base" "$debian/debs"
  (cd "$debian/debs" && dpkg-scanpackages --multiversion . >Packages 2>"$folder/scan.log")
  echo 'deb [trusted=yes] file:/debs ./' >"$debian/etc/apt/sources.list"
}

# Packages and what they need beyond a bare Debian.
download() { # folder, name of the set, packages…
  local folder=$1 set=$2
  shift 2
  DEBIAN_FRONTEND=noninteractive chroot "$folder/debian" \
    apt-get install -y -qq --no-install-recommends --download-only "$@" >"$folder/apt-$set.log" 2>&1 ||
    { tail -20 "$folder/apt-$set.log" >&2; return 1; }
  mkdir -p "$folder/debs/$set"
  mv "$folder"/debian/var/cache/apt/archives/*.deb "$folder/debs/$set"
}

make_debian() { # folder
  tar -C "$1/debian" -c . | docker import - debian:bookworm-slim >/dev/null
}

# Programs that are built already, where cargo and npm would put them.
make_finished() { # folder, programs
  local context="$1/finished" program
  mkdir -p "$context/programs"
  for program in orch orch-ingest orch-scheduler orch-console orch-runner fake-claude; do
    install -m 0755 -s "$2/$program" "$context/programs/"
  done
  cat >"$context/cargo" <<'TEXT'
#!/bin/sh -e
case "$1" in
  ship) mkdir -p target/release && cp /programs/* target/release/ ;;
  clean) rm -r target/release ;;
  *) exit 2 ;;
esac
TEXT
  cat >"$context/npm" <<'TEXT'
#!/bin/sh -e
[ "$1" = install ]
install -D -m 0755 /programs/fake-claude /cli/node_modules/@anthropic-ai/claude-code-linux-x64/claude
TEXT
  chmod 0755 "$context/cargo" "$context/npm"
  printf 'FROM debian:bookworm-slim\nCOPY programs /programs\nCOPY cargo npm /usr/local/bin/\n' >"$context/Dockerfile"
  docker build -q -t rust:1.95-bookworm "$context" >/dev/null
  docker tag rust:1.95-bookworm node:22-bookworm-slim
}

# This machine's toolchain with the crates that cargo has fetched, and its node with what npm has fetched.
make_toolchain() { # folder, root of the repository
  local context="$1/toolchain" home=${CARGO_HOME:-$HOME/.cargo}
  mkdir -p "$context/cargo/registry" "$context/npm"
  cp -a "$(cd "$2" && rustc --print sysroot)" "$context/rust"
  rm -rf "$context/rust/share/doc"
  cp -a "$home/registry/cache" "$home/registry/index" "$context/cargo/registry/"
  cp -aL "$(command -v node)" "$context/node"
  cp -a "$(npm root -g)/npm" "$context/npm/program"
  cp -a "$(npm config get cache)/_cacache" "$context/npm/"
  mv "$1/debs/build" "$context/debs"
  cat >"$context/Dockerfile" <<'TEXT'
FROM debian:bookworm-slim
COPY debs /build-debs
RUN apt-get update && apt-get install -y --no-install-recommends /build-debs/*.deb
COPY rust /usr/local/rust
COPY cargo /usr/local/cargo
COPY node /usr/local/bin/
COPY npm /npm
RUN ln -s /npm/program/bin/npm-cli.js /usr/local/bin/npm
ENV CARGO_HOME=/usr/local/cargo CARGO_NET_OFFLINE=true npm_config_cache=/npm npm_config_offline=true \
    PATH=/usr/local/rust/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
TEXT
  docker build -q -t rust:1.95-bookworm "$context" >/dev/null
  docker tag rust:1.95-bookworm node:22-bookworm-slim
  rm -rf "$context"
}

# Debian's PostgreSQL behind the settings of the official image that docker-compose.yml uses.
make_postgres() { # folder
  local context="$1/postgres"
  mkdir -p "$context"
  mv "$1/debs/postgres" "$context/debs"
  cat >"$context/entrypoint" <<'TEXT'
#!/bin/sh -e
bin=/usr/lib/postgresql/15/bin data=/var/lib/postgresql/data
if [ "$(id -u)" = 0 ]; then
  install -d -o postgres -m 0700 /run/secret
  install -o postgres -m 0400 "$POSTGRES_PASSWORD_FILE" /run/secret/password
  chown postgres $data
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0"
fi
if [ ! -e $data/PG_VERSION ]; then
  $bin/initdb -D $data -U "$POSTGRES_USER" -E UTF8 --locale=C.UTF-8 -A scram-sha-256 --pwfile=/run/secret/password >/dev/null
  echo 'host all all all scram-sha-256' >>$data/pg_hba.conf
  echo "CREATE DATABASE \"$POSTGRES_DB\";" | $bin/postgres --single -D $data postgres >/dev/null
fi
exec $bin/postgres -D $data -c listen_addresses='*' -c unix_socket_directories=/tmp
TEXT
  chmod 0755 "$context/entrypoint"
  cat >"$context/Dockerfile" <<'TEXT'
FROM debian:bookworm-slim
COPY debs /postgres-debs
RUN mkdir -p /etc/postgresql-common/createcluster.d \
 && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/none.conf \
 && apt-get update && apt-get install -y --no-install-recommends /postgres-debs/*.deb
COPY entrypoint /usr/local/bin/
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["/usr/local/bin/entrypoint"]
TEXT
  docker build -q -t postgres:16-bookworm "$context" >/dev/null
}

# Debian's Prometheus where the official image has its own.
make_prometheus() { # folder
  local context="$1/prometheus"
  dpkg-deb -x "$1"/debs/prometheus/prometheus_*.deb "$1/prometheus-package"
  install -D "$1/prometheus-package/usr/bin/prometheus" "$context/prometheus"
  printf 'FROM debian:bookworm-slim\nCOPY prometheus /bin/\nENTRYPOINT ["/bin/prometheus"]\n' >"$context/Dockerfile"
  docker build -q -t prom/prometheus:v3.5.0 "$context" >/dev/null
}
