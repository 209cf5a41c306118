"""The rows of a run, read as its settings say, and which rows they are."""

from typing import Any

from compacter_jax import data
from experiments import schema


def task(settings: schema.Data) -> data.Task:
  """The task that the settings name.  Raises ConfigError where there is none."""
  found = data.task_named(settings.task, settings.style)
  return data.one_per_row(found) if settings.splits == 'grouped' else found


def read(settings: schema.Data) -> tuple[data.Task, data.Splits, dict[str, int]]:
  """The task, its rows, and how many unusable ones were left out, by the file's path.

  Raises ConfigError for what cannot be asked for, DataError for what the rows cannot give.
  """
  of, bad = task(settings), data.BadRows(settings.max_bad_rows)
  source = data.source_of(of, settings.dir, bad, settings.source)
  splits = data.splits_of(source, of, settings.splits, settings.seed, settings.sample())
  return of, splits, bad.left_out


def texts(settings: schema.Data, part: data.Part) -> list[data.Example]:
  """The examples of a part as the model reads and writes them; a row may make several."""
  return [each for row in part.rows for each in data.examples(part.task, row, settings.prefix)]


def origins(settings: schema.Data, part: data.Part) -> tuple[str, list[int]]:
  """Where the rows of a part are, and the row of each example there, counted from 0.

  They are counted as `experiments.splits` does, in the official split.
  """
  made = [len(data.examples(part.task, row, settings.prefix)) for row in part.rows]
  numbers = [int(i) for i, many in zip(part.indices, made) for _ in range(many)]
  source = data.source_of(part.task, settings.dir, kind=settings.source)
  file = isinstance(source, data.LocalFiles)
  return str(source.path(part.official)) if file else f'{part.task.name} {part.official}', numbers


def told(splits: data.Splits) -> dict[str, Any]:
  """Each part's origin, size and hashes, and the duplicates between them; as JSON has it."""
  parts = {name: part.told() for name, part in splits.parts().items()}
  return {**parts, 'duplicates': data.duplicates(splits)}
