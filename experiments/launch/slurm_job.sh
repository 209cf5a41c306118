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
  echo "# where its time was nearly over and it ends with 75:"
  call "${again[@]}"
  exit
fi

task=
asked=false
cancelled=false
# Slurm tells this script alone that the time is nearly over. The steps of the job are told through
# Slurm too: an srun that gets a SIGTERM kills them. Once, for a second one ends the run unsaved.
tell() {
  trap : USR1
  asked=true
  [[ -z $task ]] || scancel --signal=TERM "$SLURM_JOB_ID" || say 'The run cannot be told.'
}
trap tell USR1
# Of scancel and of preemption, which tell the steps themselves; the job does not come back by this.
trap 'cancelled=true' TERM
# srun hands these on to the run from Slurm 22.05 on only if it is told so.
if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then
  export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
fi

# A job that is queued again after a node failed may be on other nodes; nothing of it is at work.
if ((${SLURM_RESTART_COUNT:-0} > 0)); then
  rm -f "${flag[workdir]}/checkpoints/.holder.json"
fi

# Of several processes srun ends with the highest code: one that was killed hides the others' 8.
is_lost() {
  [[ $1 == 8 ]] || ((flag[nodes] > 1 && $1 > 128))
}

lost=0
code=75
while [[ $asked == false && $cancelled == false ]]; do
  say "+ $(quoted "${step[@]}")"
  code=0
  "${step[@]}" &
  task=$!
  while kill -0 "$task" 2>/dev/null; do
    wait "$task" || true  # a signal ends `wait` and not srun
  done
  wait "$task" || code=$?
  task=
  if is_lost "$code" && ((lost++ < flag[losses])); then
    say "The run lost a process: $lost of ${flag[losses]}."
    continue
  fi
  break
done
if [[ $code == 75 && $asked == true && $cancelled == false ]]; then
  "${again[@]}" || say 'It cannot be queued again; submitting it once more goes on with it.'
fi
exit "$code"
