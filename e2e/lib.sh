#!/bin/bash
# shellcheck disable=SC2034 # its variables are used by the scripts that source it
# Shared by the scripts under e2e/ (sourced): where things are, one run at a time, and steps that
# show progress, keep their whole output in a log and show its end when they fail.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
e2e=$root/e2e
# Outlives the checkout, so that a fresh clone starts with everything already built.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/redis-replicaset-operator
mkdir -p "$cache"

cluster=rrs
namespace=redis-replicaset-system
chart=$root/charts/redis-replicaset-operator
operator_image=redis-replicaset-operator
datanode_image=redis-replicaset-datanode

# The Kubernetes version is stated once, in the Go module that the node's programs are built from.
k8s=$(sed -n 's/^\tk8s\.io\/kubernetes //p' "$e2e/cluster/node/go.mod")
node_cache=$cache/node-$k8s
bin=$node_cache/bin
node_image=kind-node:$k8s
mkdir -p "$bin"
export PATH=$bin:$PATH
# The cluster's own kubeconfig: what these scripts do never depends on the user's current context.
export E2E_USERS_KUBECONFIG=${E2E_USERS_KUBECONFIG-${KUBECONFIG:-}}
export KUBECONFIG=$cache/kubeconfig

# The distribution's docker has BuildKit built in; another one in PATH may lack it.
docker=$([ -x /usr/bin/docker ] && echo /usr/bin/docker || echo docker)
export DOCKER_BUILDKIT=1
ENGINE_ANSWER_S=20
engine_answers() { timeout "$ENGINE_ANSWER_S" "$docker" info >/dev/null 2>&1; }
# shellcheck disable=SC2120 # its arguments are further filters
nodes() { "$docker" ps -a --filter "label=io.x-k8s.kind.cluster=$cluster" --format '{{.Names}}' "$@" | sort; }

# The tag that tells what an image of the local engine contains.
content_tag() { "$docker" image inspect -f '{{.Id}}' "$1:dev" | sed 's/^sha256:\(.\{12\}\).*/\1/'; }

die() { echo "error: $*" >&2; exit 1; }

# Steps. The clock starts with the outermost script, so that one run has one time line.
export E2E_STARTED=${E2E_STARTED:-$EPOCHSECONDS}
HEARTBEAT_S=30
TAIL_LINES=40
# One directory per checkout, or two of them would write into each other's logs.
logs=$cache/log/$(basename "$root")-$(printf %s "$root" | cksum | cut -d' ' -f1)
LOGS_KEPT_DAYS=14
mkdir -p "$logs" && touch "$logs"
find "$cache/log" -mindepth 1 -maxdepth 1 -mtime "+$LOGS_KEPT_DAYS" -exec rm -r {} +

clock() { local s=$((EPOCHSECONDS - ${1:-$E2E_STARTED})); printf '%d:%02d' $((s / 60)) $((s % 60)); }
say() { printf '[%6s] %s\n' "$(clock)" "$*"; }

heartbeat() { # says every now and then that the step that logs to $2 is still running
  local name=$1 log=$2 begun=$EPOCHSECONDS silent
  exec {silent}<> <(:)
  while ! read -rt "$HEARTBEAT_S" -u "$silent" && kill -0 $$ 2>/dev/null; do
    say "  … $name, $(clock "$begun"): $(tail -n1 "$log" | tr -d '\r' | cut -c1-100)"
  done
}

# try NAME TITLE COMMAND…: runs it with its output in the log NAME; on failure shows the log's end and returns 1.
# A function given as COMMAND runs without `set -e`.
try() {
  local name=$1 title=$2 log=$logs/$1.log begun=$EPOCHSECONDS status=0 beat
  shift 2
  say "$title"
  : >"$log"
  heartbeat "$name" "$log" 9>&- &
  beat=$!
  "$@" >"$log" 2>&1 </dev/null || status=$?
  kill "$beat" 2>/dev/null || true
  wait "$beat" 2>/dev/null || true
  [ "$status" -eq 0 ] && return
  { echo
    tail -n "$TAIL_LINES" "$log" | sed 's/^/  | /'
    say "FAILED after $(clock "$begun"): $title (exit $status)"
    echo "         the whole log: $log"; } >&2
  return 1
}
step() { try "$@" || exit 1; }

# One run at a time; a script started by another one that holds the lock goes ahead.
LOCK_TIMEOUT_S=5400
lock() {
  [ -z "${E2E_LOCKED:-}" ] || return 0
  exec 9>>"$cache/lock"
  if ! flock -n 9; then
    say "waiting for another run: $(cat "$cache/lock.owner" 2>/dev/null || echo unknown)"
    flock -w "$LOCK_TIMEOUT_S" 9 || die "another run still holds $cache/lock after $LOCK_TIMEOUT_S s"
  fi
  echo "$0, pid $$" >"$cache/lock.owner"
  export E2E_LOCKED=1
}

# Cargo tells sources by their path within the workspace and their age, so in a target directory shared by
# several checkouts it may take another one's programs for this one's. Our own crates are built anew then.
shared_target() {
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
  mkdir -p "$CARGO_TARGET_DIR"
  local owner=$CARGO_TARGET_DIR/checkout
  if [ -e "$owner" ] && [ "$(cat "$owner")" != "$root" ]; then
    rm "$owner"
    (cd "$root" && for args in "" "--release" "--target $(host_triple)" "--release --target $(host_triple)"; do
      # shellcheck disable=SC2086 # several words on purpose
      cargo clean -q -p datanode -p operator -p load -p simulator $args
    done)
  fi
  echo "$root" >"$owner"
}
host_triple() { (cd "$root" && rustc -vV | sed -n 's/^host: //p'); }

# Where the virtual environment of a requirements file is: kept for as long as nothing changes in it.
venv_of() { echo "$cache/venv-$( (cat "$1" "$e2e/requirements.txt"; python3 -VV; command -v python3) | sha256sum | cut -c1-16)"; }
# Makes it, unless it is there. Another run may be making it.
python_environment() {
  local venv
  venv=$(venv_of "$1")
  [ ! -e "$venv/complete" ] || return 0
  (
    flock -w 600 8 || exit 1
    [ ! -e "$venv/complete" ] || exit 0
    python3 -m venv --clear "$venv" &&
      "$venv/bin/pip" install -q --disable-pip-version-check -r "$1" &&
      touch "$venv/complete"
  ) 8>>"$venv.lock"
}
