#!/usr/bin/env bash
# One run on a slice of a TPU pod that may be taken away at any time: asks for the slice, runs the
# same command on all its hosts, and where the slice is preempted asks for another and goes on.
#
#   bash experiments/launch/tpu_pod.sh --name=NAME --zone=ZONE --project=PROJECT \
#       --setup='COMMAND THAT MOUNTS A SHARE' --workdir=/mnt/share/runs/R \
#       -- --config=experiments/configs/compacter.py FLAGS OF THE RUN
#
# --name, --zone, --project: of the slice, and of the queued resource that asks for it.
# --workdir: the run's folder, on a disk that all hosts reach and that outlives the slice: an NFS
#   share that --setup mounts. Not gs://. FLAGS are those of experiments.run.
# --accelerator: its kind; v5litepod-16 by default: 16 chips, 4 hosts.
# --runtime: its system: v2-alpha-tpuv5-lite (v5e, the default), v2-alpha-tpuv6e, v2-alpha-tpuv5
#   (v5p), tpu-ubuntu2204-base (v4 and older).
# --spot: costs less and may be taken away; the default. --spot=false asks for one that stays.
# --create: more flags of `gcloud compute tpus queued-resources create`, between blanks.
# --setup: a command for every host before the run; it is given more than once.
# --losses: how often the run may lose a host, or vanish, in a slice that is well; 3.
# --take_over: forgets which host was at work in --workdir, where a slice went without ending its
#   run. Only if you know that nothing else is at work there.
# --out: where results are copied to, here; fetched/NAME by default.
# --keep: does not delete the slice at the end; it costs until it is deleted.
# --poll: seconds between looks at the slice and the run; 30.
# --dry_run: prints the commands, as they would be if all goes well, and does nothing.
#
# Exit codes of the run: 0 ends this; 75, asked to end and saved, goes on; 8, a host was lost or is
# stuck, goes on --losses times; others end this with that code. Every end deletes the slice but
# two: an interrupt (Ctrl-C), for then the run goes on, and the same command finds it again; and
# results that cannot be copied, which are still to be fetched.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/shell.sh"
source "$here/tpu.sh"

flag=([name]='' [zone]='' [project]='' [workdir]='' [accelerator]=v5litepod-16
  [runtime]=v2-alpha-tpuv5-lite [spot]=true [create]='' [setup]='' [losses]=3 [take_over]=false
  [out]='' [keep]=false [poll]=30 [dry_run]=false)
parse name zone project workdir -- "$@"
check_tpu
whole losses 0

REFUSALS=3  # requests that may fail in a row
gcloud_words queued-resources delete "${flag[name]}" --force --quiet
deletion=("${words[@]}")
trap remind EXIT

# Puts the state of the request for the slice into `answer`; '' where there is none.
queue_state() {
  gcloud_words queued-resources list "--filter=name~/${flag[name]}\$" '--format=value(state.state)'
  ask "$1" "${words[@]}"
}

# Deletes the slice. What it ran is over, so nothing of it is at work in the folder.
remove() {
  call "${deletion[@]}" && flag[take_over]=true
}

request() {
  local more
  read -ra more <<<"${flag[create]}"
  [[ ${flag[spot]} == false ]] || more+=(--spot)
  gcloud_words queued-resources create "${flag[name]}" "--node-id=${flag[name]}" \
    "--accelerator-type=${flag[accelerator]}" "--runtime-version=${flag[runtime]}" "${more[@]}"
  call "${words[@]}"
}

# Sees to it that there is a slice that is well: the one of that name, or another.
bring_up() {
  local pretended='' refused=0
  while true; do
    queue_state "$pretended" || answer=unknown
    case $answer in
      '')
        pretended=ACTIVE
        if request; then continue; fi
        ((++refused < REFUSALS)) || exit 1
        ;;
      ACTIVE)
        machine_state READY || answer=unknown
        case $answer in
          READY) return ;;
          '' | PREEMPTED | TERMINATED | STOPPED) if remove; then continue; fi ;;
        esac
        ;;
      SUSPENDED | SUSPENDING) if remove; then continue; fi ;;
      FAILED)
        say 'The request for the slice failed: is there quota for it in this zone?'
        finish
        exit 1
        ;;
    esac
    pause "${flag[poll]}"  # it waits in the queue, or nobody answers
  done
}

# Starts the run on all hosts unless it is at work, and waits for its end.
attempt() {
  run_state 'run: none' || answer=
  if [[ $answer != *'run: working'* ]]; then
    # Hosts may not have seen the end of the last attempt.
    prepare && worker all stop || return
    if [[ ${flag[take_over]} == true ]]; then
      worker 0 release "${flag[workdir]}" || return
      flag[take_over]=false
    fi
  fi
  worker all start shared "${flag[workdir]}" "${run[@]}" && follow
}

lost=0
while true; do
  bring_up
  attempt || {
    ended=$?
    # gcloud tries again by itself: either the slice goes, or something stays wrong.
    machine_state READY && [[ $answer == READY ]] || ended=gone
  }
  case $ended in
    0) fetch; break ;;
    75) say 'The run was asked to end and has saved; it goes on.'; pause "${flag[poll]}" ;;
    gone) say 'The slice was taken away; the run goes on in another one.' ;;
    8 | vanished)
      say "The run lost a host, or vanished: $((++lost)) of ${flag[losses]}."
      if ((lost > flag[losses])); then
        ended=8
        break
      fi
      ;;
    *) break ;;
  esac
done
[[ $ended == 0 ]] || worker 0 log || true
finish
exit "$ended"
