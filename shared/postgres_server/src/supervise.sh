# Keeps one PostgreSQL server in a folder of its own, as whoever runs this. Commands come line by line and each is
# answered by a line; when there are no more, for whatever reason, the server is ended and nothing of it is left.
set -u
umask 077
bin=$1
fsync=$2
folder=$(mktemp -d /tmp/orch-postgres.XXXXXX) || exit 1
cd "$folder" || exit 1

pooler=
end() {
  [ -z "$pooler" ] || { kill -KILL "$pooler" 2>/dev/null; wait "$pooler" 2>/dev/null; }
  "$bin/pg_ctl" -D "$folder/data" -m immediate -w stop >/dev/null 2>&1
  cd /
  rm -rf "$folder"
}
trap 'end; exit 0' INT TERM HUP

start() {
  "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w -t 60 start >/dev/null 2>&1 </dev/null
}

stop() { # mode
  if [ "$1" = kill ]; then
    read -r server <data/postmaster.pid || return 1
    # shellcheck disable=SC2046 # one id each
    kill -KILL "$server" $(cat "/proc/$server/task/$server/children") 2>/dev/null
    while [ -e "/proc/$server" ]; do sleep 0.05; done
    return 0
  fi
  "$bin/pg_ctl" -D "$folder/data" -m "$1" -w -t 60 stop >/dev/null 2>&1
}

# A proxy that hands out a server connection for one transaction, on a socket in a folder beside the server's.
pool() {
  mkdir pool || return 1
  cat >pool/pgbouncer.ini <<CONF
[databases]
* = host=$folder user=orch
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = $folder/pool
auth_type = any
pool_mode = transaction
max_client_conn = 1000
default_pool_size = 8
logfile = $folder/pool/log
CONF
  PATH=$PATH:/usr/sbin pgbouncer -q pool/pgbouncer.ini >>pool/log 2>&1 </dev/null &
  pooler=$!
  tries=0
  until [ -S pool/.s.PGSQL.6432 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] && kill -0 "$pooler" 2>/dev/null || { pooler=; return 1; }
    sleep 0.05
  done
}

"$bin/initdb" -D data -U orch -A trust -E UTF8 --locale=C -N >log 2>&1 || { sed 's/^/initdb: /' log >&2; end; exit 1; }
cat >>data/postgresql.conf <<CONF
listen_addresses = ''
unix_socket_directories = '$folder'
fsync = $fsync
full_page_writes = $fsync
max_connections = 200
shared_buffers = 64MB
CONF
start || { cat log >&2; end; exit 1; }
echo "$folder"

while read -r command argument; do
  case $command in
    start) start && echo done || echo failed ;;
    pool) pool && echo done || echo failed ;;
    stop) stop "$argument" && echo done || echo failed ;;
    sql) "$bin/psql" -h "$folder" -U orch -d postgres -qAtX -v ON_ERROR_STOP=1 -c "$argument" >answer 2>&1 </dev/null && echo done || { tr '\n' ' ' <answer; echo; } ;;
    *) echo "unknown $command" ;;
  esac
done
end
