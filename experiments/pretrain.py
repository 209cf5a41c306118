r"""Pretrains T5 from plain text, or goes on with it: span corruption or prefix language modelling.

    python -m experiments.pretrain --config=experiments/configs/pretrain_nano.py \
        --config.text.dir=DIR --workdir=W

The same command goes on where an interrupted run stopped, and says so if it has ended. W receives
config.json, metrics.jsonl, TensorBoard's files in events/, loss.png, results.json, and model/ in
Hugging Face's format; checkpoints/ while the run lasts.

On several hosts that share W, start the same command on each with --hosts=auto, or, where JAX does
not find them by itself, with --coordinator=HOST:PORT --processes=N --process=I.
"""

from typing import Any

from experiments import commandline


def main(job, workdir: str, force: bool = False) -> None:
  """Runs a checked job.  force: see `Checkpoints.claim`."""
  from compacter_jax.checkpoints import processes
  from experiments import pretraining
  from experiments.preemption import Preemption

  with Preemption().listening() as preemption:
    results = pretraining.run(job, workdir, preemption=preemption, force=force)
  if processes.is_first():
    print(f'dev loss {results["dev_loss"]:.4f} per target id; model: {workdir}/model')


def job(values: dict[str, Any]):
  """The job of plain settings."""
  from experiments import pretraining_job

  return pretraining_job.job(values)


if __name__ == '__main__':
  commandline.start(main, __doc__, job, several=True)
