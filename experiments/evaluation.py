"""What is trained, scored on the rows of a run."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable

from compacter_jax import data, evaluate
from compacter_jax.data.encoding import Encoded
from compacter_jax.method import Tuned
from compacter_jax.placement import Placement
from compacter_jax.weights import Flat
from experiments.generation import Generation
from experiments.inputs import Inputs
from experiments.schema import Job


class Evaluation:
  """Generates answers on the mesh; to be called while that is set."""

  def __init__(
    self,
    job: Job,
    inputs: Inputs,
    placement: Placement,
    frozen: Flat,
    between: Callable[[tuple[int, ...]], None] = lambda shape: None,
    done: Callable[[], None] = lambda: None,
  ):
    """frozen, between: as `Generation` has them.

    done: is called when all outputs of a part are there.
    """
    self._job, self._inputs, self._done = job, inputs, done
    args = inputs.model, inputs.tokenizer, placement, frozen, job.eval_batch_size, between
    self._generation = Generation(*args)

  def score(self, tuned: Tuned, part: str) -> dict[str, float]:
    """The scores of a part, in percent."""
    task, predictions = self._predict(tuned, part)
    return evaluate.score(task, predictions, self._inputs.splits[part])

  def report(self, tuned: Tuned, part: str) -> tuple[dict[str, float], dict[str, list[float]], str]:
    """The scores, their intervals, and the SHA-256 of the outputs that both are of."""
    task, predictions = self._predict(tuned, part)
    args = task, predictions, self._inputs.splits[part]
    texts = hashlib.sha256(json.dumps(predictions).encode()).hexdigest()
    return evaluate.score(*args), evaluate.interval(*args), texts

  def _predict(self, tuned: Tuned, part: str) -> tuple[data.Task, list[str]]:
    split = self._inputs.splits[part]
    task = self._inputs.task if part == 'test' else data.trained_on(self._inputs.task)
    steps = longest(self._job, task, split, self._inputs.tokenizer)
    predictions = self._generation.answers(tuned, split, steps)
    self._done()  # scoring and its intervals are no batch that takes long
    return task, predictions


def longest(job: Job, task: data.Task, split: Encoded, tokenizer: data.Tokenizer) -> int:
  """How many ids are generated at most for rows whose answers are known."""
  most = job.data.max_target if job.data.allow_target_truncation else None
  return evaluate.limit(task, split, tokenizer, most)


def majority(inputs: Inputs) -> dict[str, float]:
  """What the most frequent answer of the test rows scores there, given to all of them."""
  split = inputs.splits['test']
  return evaluate.score(inputs.task, [_most_frequent(split)] * len(split), split)


def constant(inputs: Inputs, part: str) -> float:
  """The average of the one answer that scores best if it is given to all rows of a part.

  It is what a model that looks at no row may reach. F1 of a rare class prefers that class, so the
  most frequent answer may score less.
  """
  task = inputs.task if part == 'test' else data.trained_on(inputs.task)
  split = inputs.splits[part]
  answers = task.labels or (_most_frequent(split),)
  return max(evaluate.score(task, [each] * len(split), split)['average'] for each in answers)


def _most_frequent(split: Encoded) -> str:
  (answer, _), *_ = Counter(split.references).most_common(1)
  return answer
