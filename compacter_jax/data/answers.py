"""Whether a model can write what is right."""

from compacter_jax.data.tasks import Task
from compacter_jax.data.tokenizer import Tokenizer
from compacter_jax.errors import ConfigError


def check_answers(task: Task, tokenizer: Tokenizer) -> None:
  """Raises ConfigError if one of the task's labels, or what is around an answer, cannot be written.

  Nothing would ever score as such a label: T5's own vocabulary has no braces, no newline and no
  double space. Two labels with the same ids are found too, since at most one of them survives.
  Sentinels around an answer must leave nothing behind: the tokenizers of mT5 have none.
  """
  if left := tokenizer.decode(tokenizer.encode(task.written(''))).strip():
    raise ConfigError(
      f'The tokenizer has no sentinels for the target of {task.name}.',
      where=f'target: {task.target!r}',
      got=f'the text {ascii(left)}',
      fix='leave target out, or take the tokenizer of a T5 that was pretrained with sentinels',
    )
  for label in task.labels or ():
    written = tokenizer.decode(tokenizer.encode(task.written(label))).strip()
    if written != label:
      raise ConfigError(
        f'The tokenizer cannot write an answer of {task.name}.',
        expected=ascii(label),
        got=ascii(written),
        fix='take other words for it, or a tokenizer that has its characters',
      )
