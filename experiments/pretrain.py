"""Pretrains T5 from plain text, or goes on with it: span corruption or prefix language modelling.

    python -m experiments.pretrain --config=experiments/configs/pretrain_nano.py \
        --config.text.dir=DIR --workdir=W

The same command goes on where an interrupted run stopped, and says so if it has ended. W receives
config.json, metrics.jsonl, TensorBoard's files in events/, loss.png, results.json, the last
checkpoint in state.safetensors, and model/ in Hugging Face's format.
"""

from typing import Any

from experiments import commandline


def main(job, workdir: str) -> None:
  """Runs a checked job."""
  from experiments import pretraining

  results = pretraining.run(job, workdir)
  print(f'dev loss {results["dev_loss"]:.4f} per target id; model: {workdir}/model')


def job(values: dict[str, Any]):
  """The job of plain settings."""
  from experiments import pretraining_job

  return pretraining_job.job(values)


if __name__ == '__main__':
  commandline.start(main, __doc__, job)
