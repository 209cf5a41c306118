"""How long a run is, and the batches that it learns from."""

import math

from compacter_jax import data
from compacter_jax.data.encoding import Encoded
from experiments.schema import Job


def lengths(job: Job, rows: int) -> tuple[int, int]:
  """Steps of the whole run, and between evaluations."""
  epoch = max(math.ceil(rows / job.batch_size), 1)
  total = job.steps or max(round(job.epochs * rows / job.batch_size), 1)
  return total, min(job.eval_every or epoch, total)


def training(job: Job, split: Encoded, d_model: int, ways: int = 1) -> data.Batches:
  """The batches of a run on that split, for a T5 of that width.

  ways: among how many devices rows are split.
  """
  total, _ = lengths(job, len(split))
  how = job.data.batching, job.accumulate * ways, d_model, total
  return data.Batches(split, job.batch_size, job.seed, *how)
