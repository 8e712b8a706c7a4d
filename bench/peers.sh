#!/usr/bin/env bash
# Ours beside other job queues, on the same work in one run: `./dev bench peers`.
#
# ORCH_PEERBENCH names a folder with the peers' benchmark: its `run.sh COLUMN…` measures columns once and appends lines of
# `round peer config metric value` to the file PB_RAW, its `setup.sh` installed them under PEERBENCH_HOME. Here the columns
# take turns with ours, ROUNDS times, and one table of medians comes out; raw lines stay in target/bench/peers-raw.tsv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

: "${ORCH_PEERBENCH:?set ORCH_PEERBENCH to the folder where the peers are measured, see bench/peers.sh}"
export PEERBENCH_HOME=${PEERBENCH_HOME:-/tmp/peerbench}
COLUMNS_CHOSEN=${COLUMNS_CHOSEN:-limits-sqlite effectum plainjob bullmq-always pglimit graphile-worker pg-boss}
ROUNDS=${ROUNDS:-3}
BENCH=${CARGO_TARGET_DIR:-$PWD/target}/release/bench
RAW=${CARGO_TARGET_DIR:-$PWD/target}/bench/peers-raw.tsv
export PB_B=${PB_B:-1000,100000} PB_W=${PB_W:-w1,w2,w3} PB_WARM=0 PB_REPS=1 PB_RAW=$RAW
mkdir -p "$(dirname "$RAW")"
: >"$RAW"

# Our rows under the names of the peers' work: the enqueue, the drain, the wait for the first instruction.
ours() { # the bench's words
  "$BENCH" "$@" | tee -a "${RAW%.tsv}-ours.tsv" | awk -F '\t' -v OFS='\t' '
    BEGIN {
      for (c = 1; c <= 32; c += 31) {
        full["store_call_sqlite_full_c" c] = "w1_c" c "_jps"
        full["store_call_p99_c" c] = "w1_c" c "_p99ms"
        limit["store_call_limit_sqlite_full_c" c] = "w1_c" c "_jps"
        postgres["store_call_postgres_c" c] = "w1_c" c "_jps"
        postgres["store_call_postgres_p99_c" c] = "w1_c" c "_p99ms"
      }
      full["claims_done_1k_ready_sqlite_full"] = "w2_b1000_jps"
      full["claims_done_100k_ready_sqlite_full"] = "w2_b100000_jps"
      postgres["claims_done_1k_ready_postgres"] = "w2_b1000_jps"
      postgres["claims_done_100k_ready_postgres"] = "w2_b100000_jps"
      # Where their handler begins, our runner has the launch; the agent is another program, with a start of its own.
      full["webhook_to_launch_received_p50"] = "w3_p50ms"
      full["webhook_to_launch_received_p99"] = "w3_p99ms"
      agent["webhook_to_agent_exec_p50"] = "w3_p50ms"
      agent["webhook_to_agent_exec_p99"] = "w3_p99ms"
    }
    $1 in full { print 1, "orch", "FULL", full[$1], $2 }
    $1 in postgres { print 1, "orch", "sync_commit=on", postgres[$1], $2 }
    $1 in agent { print 1, "orch, agent started", "FULL", agent[$1], $2 }
    $1 in limit { print 1, "our rows, raw driver", "FULL", limit[$1], $2 }' >>"$RAW"
}

: >"${RAW%.tsv}-ours.tsv"
for ((round = 1; round <= ROUNDS; round++)); do
  for column in $COLUMNS_CHOSEN; do
    echo "round $round: $column" >&2
    "$ORCH_PEERBENCH/run.sh" "$column" >/dev/null
  done
  ours store-call
  # These measure themselves several times.
  if [ "$round" = 1 ]; then
    ours claims --on sqlite-full,postgres --stock 1k_ready,100k_ready
    ours latency
  fi
done

# peer, config and the median of each metric; the number of samples is that of the rarest.
awk -F '\t' -v OFS='\t' '
  $2 == "probe" || NF != 5 { next }
  { key = $2 "\t" $3; if (!(key in seen)) { seen[key] = 1; order[++keys] = key }
    count[key, $4]++; value[key, $4, count[key, $4]] = $5 + 0 }
  function median(key, metric,   n, i, j, sorted, swap) {
    n = count[key, metric]
    if (n == 0) return "-"
    for (i = 1; i <= n; i++) sorted[i] = value[key, metric, i]
    for (i = 2; i <= n; i++)
      for (j = i; j > 1 && sorted[j - 1] > sorted[j]; j--) { swap = sorted[j]; sorted[j] = sorted[j - 1]; sorted[j - 1] = swap }
    return sprintf("%.4g", sorted[int((n + 1) / 2)])
  }
  END {
    metrics = split("w1_c1_jps w1_c1_p99ms w1_c32_jps w1_c32_p99ms w2_b1000_jps w2_b100000_jps w3_p50ms w3_p99ms", metric, " ")
    line = "peer\tdurability"
    for (m = 1; m <= metrics; m++) line = line OFS metric[m]
    print line
    for (k = 1; k <= keys; k++) {
      line = order[k]
      shown = 0
      for (m = 1; m <= metrics; m++) { cell = median(order[k], metric[m]); shown += cell != "-"; line = line OFS cell }
      if (shown) print line
    }
  }' "$RAW"
