#!/usr/bin/env bash
# What slurm.sh submits: runs the same command on each node, and has itself queued again where the
# run was asked to end. Flags as slurm.sh has them.
set -euo pipefail
# sbatch runs a copy of this script, in the folder where it was submitted.
source experiments/launch/shell.sh

flag=([workdir]='' [nodes]=1 [gpus]=1 [python]='' [losses]=3 [dry_run]=false)
parse workdir python -- "$@"
check_run

program=("${flag[python]}" -m experiments.run "${run[@]}" "--workdir=${flag[workdir]}")
if ((flag[nodes] > 1)); then
  # Otherwise JAX takes one GPU for each process of a Slurm job.
  devices=$(seq --separator=, 0 $((flag[gpus] - 1)))
  program=(env "JAX_LOCAL_DEVICE_IDS=$devices" "${program[@]}" --hosts=auto)
fi
# Processes end by themselves, and those that end first must not take the others with them.
step=(srun "--ntasks=${flag[nodes]}" --ntasks-per-node=1 --kill-on-bad-exit=0 --wait=0
  "${program[@]}")
again=(scontrol requeue "${SLURM_JOB_ID:-JOB}")

if [[ ${flag[dry_run]} == true ]]; then
  call "${step[@]}"
  echo "# where it ends with 75:"
  call "${again[@]}"
  exit
fi

task=
asked=false
# Slurm tells this script alone that the time is nearly over, and srun passes it on to all nodes.
# Once: a second signal would end the run before it has saved.
trap 'asked=true; trap : TERM; [[ -z $task ]] || kill -TERM "$task"' TERM

# A job that is queued again after a node failed may be on other nodes; nothing of it is at work.
if ((${SLURM_RESTART_COUNT:-0} > 0)); then
  rm -f "${flag[workdir]}/checkpoints/.holder.json"
fi

lost=0
while true; do
  say "+ $(quoted "${step[@]}")"
  code=0
  "${step[@]}" &
  task=$!
  [[ $asked == false ]] || kill -TERM "$task"
  while kill -0 "$task" 2>/dev/null; do
    wait "$task" || true  # a signal ends `wait` and not srun
  done
  wait "$task" || code=$?
  task=
  if [[ $code == 8 ]] && [[ $asked == false ]] && ((lost++ < flag[losses])); then
    say "The run lost a node: $lost of ${flag[losses]}."
    continue
  fi
  break
done
if [[ $code == 75 ]]; then
  "${again[@]}" || say 'It cannot be queued again; submitting it once more goes on with it.'
fi
exit "$code"
