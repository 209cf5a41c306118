"""Evaluation as published: labels are generated as text and compared as text."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from compacter_jax import bootstrap, metrics
from compacter_jax.data.encoding import TARGET_STEP, Encoded
from compacter_jax.data.pipeline import eval_batches
from compacter_jax.data.tasks import Task
from compacter_jax.data.tokenizer import Tokenizer
from compacter_jax.errors import ConfigError
from compacter_jax.method import Tuned
from compacter_jax.model import Model
from compacter_jax.sharding import fetch
from compacter_jax.weights import Flat


def predict(
  model: Model,
  tuned: Tuned,
  frozen: Flat,
  split: Encoded,
  tokenizer: Tokenizer,
  batch_size: int,
  steps: int | None = None,
  place: Callable[[np.ndarray], jax.Array] = jnp.asarray,
) -> list[str]:
  """The text that the model generates for each row, in the order of the split.

  steps: the most ids to generate; by default as many as the split's longest target needs.
  place: lays a table of sources out on devices; it is called before each batch.

  Raises ConfigError without steps where no target is known.
  """
  if steps is None and not any(split.references):
    raise ConfigError(
      'How long answers may be is not known.',
      where='steps',
      expected='a number of ids, as no row has a target',
      got='None',
    )
  out: list[str] = [''] * len(split)

  def read(rows: np.ndarray, ids: jax.Array) -> None:
    for row, line in zip(rows, fetch(ids)):
      if row >= 0:
        out[row] = tokenizer.decode(line.tolist()).strip()

  before = None
  for batch in eval_batches(split, batch_size):
    ids = _generate(model, tuned, frozen, place(batch['source']), steps or split.target_width)
    if before:  # read while the device is at the next one
      read(*before)
    before = batch['rows'], ids
  if before:
    read(*before)
  return out


def limit(task: Task, split: Encoded, tokenizer: Tokenizer, most: int | None = None) -> int:
  """How many ids must be generated for any answer: the split's longest target or longest label.

  A label that no row of the split has may be written all the same, and would count as invalid if it
  were cut. most: ids to which labels are cut, where they may be.
  """
  longest = max(
    (len(tokenizer.encode(task.written(label))) for label in task.labels or ()), default=0
  )
  longest = min(longest, most or longest)
  return max(split.target_width, -(-longest // TARGET_STEP) * TARGET_STEP)


@functools.partial(jax.jit, static_argnames=('model', 'steps'))
def _generate(model: Model, tuned: Tuned, frozen: Flat, source, steps: int):
  return model.generate(tuned, frozen, source, steps)


def score(task: Task, predictions: Sequence[str], split: Encoded) -> dict[str, float]:
  """The task's metrics in percent, their mean as 'average', and 'invalid': outputs no label."""
  outputs, gold = (metrics.as_digits(t, task.labels) for t in (predictions, split.references))
  scores = metrics.score(task.metrics, outputs, gold, split.groups)
  return scores | {'invalid': metrics.count_invalid(predictions, task.labels)}


def interval(task: Task, predictions: Sequence[str], split: Encoded) -> dict[str, list[float]]:
  """[low, high] of the task's metrics, in percent: 95 % intervals of `bootstrap.intervals`."""
  outputs, gold = (metrics.as_digits(t, task.labels) for t in (predictions, split.references))
  return bootstrap.intervals(task.metrics, outputs, gold, split.groups)
