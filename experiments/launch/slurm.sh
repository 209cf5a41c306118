#!/usr/bin/env bash
# One run on GPU nodes of a Slurm cluster: submits slurm_job.sh, which goes on with it in as many
# allocations as it takes.
#
#   bash experiments/launch/slurm.sh --nodes=2 --gpus=4 --workdir=/shared/runs/R \
#       -- --config=experiments/configs/compacter.py FLAGS OF THE RUN
#
# --workdir: the run's folder, on a disk that all nodes reach. FLAGS are those of experiments.run.
# --nodes: how many; 1. --gpus: of each; 1. One process runs on each node and has all its GPUs.
# --time: of one allocation; 04:00:00. 120 seconds before its end the run saves and is queued again.
# --name: of the job; compacter. --python: with the package for GPUs; .venv/bin/python.
# --losses: how often in one allocation the run may lose a node; 3.
# --sbatch: more flags of sbatch, between blanks: '--partition=P --account=A --cpus-per-task=16'.
# --dry_run: prints the commands and does nothing.
#
# Submit it at the root of the repository, which all nodes must reach too. The log is
# WORKDIR-log/JOB.txt. A run that ended by itself gives the job its exit code.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/shell.sh"

flag=([workdir]='' [nodes]=1 [gpus]=1 [time]=04:00:00 [name]=compacter [python]=.venv/bin/python
  [losses]=3 [sbatch]='' [dry_run]=false)
parse workdir -- "$@"
check_run
whole nodes 1
whole gpus 1
whole losses 0
if [[ ! ${flag[time]} =~ ^([0-9]+-)?[0-9]+(:[0-9]+){0,2}$ ]]; then
  wrong "--time cannot be ${flag[time]}." 'write 04:00:00, or 2-00:00:00 for two days'
fi

read -ra more <<<"${flag[sbatch]}"
job=(experiments/launch/slurm_job.sh "--workdir=${flag[workdir]}" "--nodes=${flag[nodes]}"
  "--gpus=${flag[gpus]}" "--python=${flag[python]}" "--losses=${flag[losses]}")
call mkdir -p "${flag[workdir]}-log"
call sbatch "--job-name=${flag[name]}" "--nodes=${flag[nodes]}" --ntasks-per-node=1 \
  "--gpus-per-node=${flag[gpus]}" "--time=${flag[time]}" --signal=B:USR1@120 --requeue \
  --open-mode=append "--output=${flag[workdir]}-log/%j.txt" "${more[@]}" "${job[@]}" -- "${run[@]}"
if [[ ${flag[dry_run]} == true ]]; then
  echo '# and the job:'
  bash "${job[@]}" --dry_run -- "${run[@]}"
fi
