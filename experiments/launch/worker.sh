#!/usr/bin/env bash
# On a TPU VM: one run of experiments.run that outlives the connection that started it.
#
#   worker.sh install                          a Python with the package for TPUs, in .venv
#   worker.sh start KIND WORKDIR FLAGS...      KIND is alone, or shared: WORKDIR is on a shared disk
#   worker.sh state                            prints `run: none`, `run: working`, `run: ended CODE`
#   worker.sh log                              prints the end of the log
#   worker.sh stop                             asks the run to end, and ends it if it does not
#   worker.sh release WORKDIR                  forgets who was at work in WORKDIR
#
# The log is WORKDIR-log/HOST.txt. Starting what runs already does nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

place=$PWD/.launch  # what this host knows of its run
patience=${WORKER_PATIENCE:-60}  # seconds that a run has to save and end

working() {
  # The run itself holds the lock too, so it is free however that ends.
  [[ -e $place/lock ]] && ! flock --nonblock "$place/lock" true
}

install() {
  # TPU VMs bring Python 3.10, which is too old. uv fetches a newer one.
  python3 -m pip install --quiet --user uv
  [[ -x .venv/bin/python ]] || python3 -m uv venv --quiet --python=3.12 .venv
  python3 -m uv pip install --quiet --python=.venv/bin/python '.[tpu]'
}

start() {
  local kind=$1 workdir=$2 command
  shift 2
  command=(.venv/bin/python -m experiments.run "$@" "--workdir=$workdir")
  [[ $kind == alone ]] || command+=(--hosts=auto)
  if [[ $kind == shared ]] && ! is_shared "$workdir"; then
    echo "$workdir is on a disk of $(hostname) alone: all hosts must reach it; mount a share" >&2
    exit 2
  fi
  mkdir -p "$place" "$workdir-log"
  if working; then
    if [[ $(<"$place/command") == "${command[*]}" ]]; then
      echo "run: working already"
      return
    fi
    echo "Another run is at work here: $(<"$place/command")" >&2
    exit 2
  fi
  rm -f "$place/code" "$place/pids"
  echo "${command[*]}" >"$place/command"
  ln -sfn "$workdir-log/$(hostname).txt" "$place/log"
  nohup setsid bash experiments/launch/worker.sh supervise "${command[@]}" \
    >>"$place/log" 2>&1 </dev/null &
  for _ in {1..100}; do
    [[ ! -e $place/pids ]] || return 0
    sleep 0.1
  done
  echo "The run did not start: see $workdir-log" >&2
  exit 1
}

# Waits for the run with the lock in hand, and notes how it ends.
supervise() {
  local code=0 child
  exec 9>"$place/lock"
  flock 9
  # Where the host is shut down the run gets the same signal; a second one would end it at once.
  trap : TERM
  "$@" &
  child=$!
  echo "$child $$" >"$place/new" && mv "$place/new" "$place/pids"
  while kill -0 "$child" 2>/dev/null; do
    wait "$child" || true  # a signal ends `wait` and not the run
  done
  wait "$child" || code=$?
  echo "$code" >"$place/new" && mv "$place/new" "$place/code"
}

state() {
  if working; then
    echo 'run: working'
  elif [[ -e $place/code ]]; then
    echo "run: ended $(<"$place/code")"
  else
    echo 'run: none'
  fi
}

stop() {
  local second child group
  working || return 0
  read -r child group <"$place/pids"
  kill -TERM "$child" || true
  for ((second = 0; second < patience; second++)); do
    working || return 0
    sleep 1
  done
  kill -KILL -- "-$group"
}

# Whether a folder, which may not be there yet, lies on a disk that other hosts may have too.
is_shared() {
  local folder=$1
  until [[ -e $folder ]]; do folder=$(dirname "$folder"); done
  [[ $(stat --file-system --format=%T "$folder") != @(ext*|xfs|btrfs|tmpfs|overlayfs|zfs) ]]
}

# The host that held the folder is gone, so its note will not be taken back by it.
release() {
  rm -f "$1/checkpoints/.holder.json"
}

case ${1:-} in
  install | start | supervise | state | stop | release) "$@" ;;
  log) tail -n 40 "$place/log" ;;
  *) sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
