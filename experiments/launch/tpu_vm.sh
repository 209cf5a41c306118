#!/usr/bin/env bash
# One run on one TPU VM: creates it or takes the one of that name, copies the last commit there,
# installs it, runs, waits, fetches the results and deletes the VM.
#
#   bash experiments/launch/tpu_vm.sh --name=NAME --zone=ZONE --project=PROJECT \
#       --workdir=DIR -- --config=experiments/configs/compacter.py FLAGS OF THE RUN
#
# --name, --zone, --project: of the VM.
# --workdir: the run's folder on the VM: a whole path. FLAGS are those of experiments.run.
# --accelerator: its kind; one host has at most 8 chips: v5litepod-1, -4 or -8 (the default), v6e-8.
# --runtime: its system: v2-alpha-tpuv5-lite (v5e, the default), v2-alpha-tpuv6e, v2-alpha-tpuv5
#   (v5p), tpu-ubuntu2204-base (v4 and older).
# --spot: a VM that costs less and may be taken away, with what is on its disk.
# --create: more flags of `gcloud compute tpus tpu-vm create`, between blanks.
# --setup: a command for the VM before the run, such as one that mounts a disk or fetches data.
# --out: where results are copied to, here; fetched/NAME by default.
# --keep: does not delete the VM at the end; it costs until it is deleted.
# --poll: seconds between looks at the run; 30.
# --dry_run: prints the commands, as they would be if all goes well, and does nothing.
#
# The run outlives this script and the connection: the same command finds it again. The exit code is
# the run's. Unless it is 0 the VM stays, for the run can go on there, and costs.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/shell.sh"
source "$here/tpu.sh"

flag=([name]='' [zone]='' [project]='' [workdir]='' [accelerator]=v5litepod-8
  [runtime]=v2-alpha-tpuv5-lite [spot]=false [create]='' [setup]='' [out]='' [keep]=false [poll]=30
  [dry_run]=false)
parse name zone project workdir -- "$@"
check_tpu

gcloud_words tpu-vm delete "${flag[name]}" --quiet
deletion=("${words[@]}")
trap remind EXIT

machine_state ''
case $answer in
  READY) run_state 'run: none' || answer= ;;
  '')
    read -ra more <<<"${flag[create]}"
    [[ ${flag[spot]} == false ]] || more+=(--spot)
    gcloud_words tpu-vm create "${flag[name]}" "--accelerator-type=${flag[accelerator]}" \
      "--version=${flag[runtime]}" "${more[@]}"
    call "${words[@]}"
    ;;
  *)
    say "The VM ${flag[name]} is there and is $answer."
    say '  fix: wait, or delete it'
    exit 1
    ;;
esac
if [[ $answer != *'run: working'* ]]; then
  prepare
fi
worker 0 start alone "${flag[workdir]}" "${run[@]}"
follow

case $ended in
  0) fetch; finish; exit ;;
  gone | vanished) say "The run is $ended."; exit 1 ;;
esac
worker 0 log
say "The run ended with $ended."
exit "$ended"
