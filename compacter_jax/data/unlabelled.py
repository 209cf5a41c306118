"""Questions without answers: rows of a table, or plain texts, for a model to answer."""

from pathlib import Path

from compacter_jax.data import formats
from compacter_jax.data.own_task import OwnTask, with_texts
from compacter_jax.data.sound_rows import BadRows, sound_rows
from compacter_jax.data.tables import read_table
from compacter_jax.data.tasks import Task, question, text_fault
from compacter_jax.errors import DataError


def questions(task: Task, path: Path, prefix: bool, bad: BadRows | None = None) -> list[str]:
  """The source of each row of a table with the task's columns, in its order.

  Formats as `read_table` has them; further columns, an answer's too, are left aside.

  Raises DataError for a file that cannot be read, lacks a column or has rows that are unfit, up to
  20 of which are listed; ConfigError for a format that is not known.
  """
  lines = read_table(path, list(task.columns))
  if isinstance(task, OwnTask):
    lines = (with_texts(task, line) for line in lines)
  return [question(task, row, prefix) for row in sound_rows(path, task, lines, bad, labelled=False)]


def texts(content: bytes, where: str) -> list[str]:
  """The sources that stand in a text, one on each line.

  where: what names the text in errors.

  Raises DataError for what is not UTF-8, for no line, and for a line that is no text.
  """
  lines = formats.lines_of(formats.decoded(content, where))
  if not lines:
    raise DataError('There are no texts.', where=where, expected='one on each line')
  for number, line in enumerate(lines, 1):
    if problem := text_fault(line):
      raise DataError('A text cannot be used.', where=f'{where}:{number}', got=problem)
  return lines
