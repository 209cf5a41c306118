"""Tells which rows a run would train, validate and test on; reads no weights.

    python -m experiments.splits --task=cola,mrpc --config.data.dir=DIR
    python -m experiments.splits --config=FILE --config.data.NAME=VALUE --export=rows.json

Takes the settings of experiments.run. --task is short for --config.data.task and may name several;
--export writes the number of every row in its official split, --format=json prints all but these.

`indices` are the first digits of the SHA-256 of the rows' numbers, `content` of that of what the
rows hold. Below stands how many rows of one part an earlier one has too: with the same answer; or
their text, but with another answer; or only what they are about, such as their paragraph.
"""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from compacter_jax import data

CONFIG = Path(__file__).parent / 'configs' / 'compacter.py'
SHOWN = 12  # digits of a hash in the text
CHOSEN = 'splits', 'seed', 'sample_seed', 'max_train', 'max_validation', 'max_test'
CHOSEN += 'balanced', 'shots'


def describe(settings: Any) -> dict[str, Any]:
  """Which rows the data settings take: those settings, the parts with every row, duplicates."""
  from experiments import rows

  return described(settings, *rows.read(settings))


def described(
  settings: Any, task: 'data.Task', splits: 'data.Splits', left_out: dict[str, int]
) -> dict[str, Any]:
  """`describe` of rows that are read already."""
  from experiments import rows

  told = rows.told(splits)
  for name, part in splits.parts().items():
    told[name]['indices'] = part.indices.tolist()
  chosen = {field: getattr(settings, field) for field in CHOSEN}
  return {'task': task.name, **chosen, **told, 'bad_rows': left_out}


def text(found: dict[str, Any]) -> str:
  """What is told of one task, for people."""
  from compacter_jax.data.protocols import PARTS

  plain = {'splits': 'paper', 'sample_seed': -1, 'max_train': 0, 'balanced': False, 'shots': 0}
  plain |= {'max_validation': 0, 'max_test': 0}
  told = [f'{k} {found[k]}' for k in CHOSEN if k in ('splits', 'seed') or found[k] != plain[k]]
  lines = [f'{found["task"]}: {", ".join(told)}']
  lines.append(f'{"":12}{"of":24}{"rows":>9}  {"indices":14}{"content"}')
  for part in PARTS:
    row = found[part]
    hashes = ''.join(f'{row[f"{of}_sha256"][:SHOWN]:14}' for of in ('indices', 'rows'))
    lines.append(f'{part:12}{row["official"]:24}{row["rows"]:9,}  {hashes}'.rstrip())
  for pair, counts in found['duplicates'].items():
    lines.append(f'{pair + ":":20}{_twice(counts)}')
  lines += [
    f'{count} unusable rows of {path} left out' for path, count in found['bad_rows'].items()
  ]
  return '\n'.join(lines)


def _twice(counts: dict[str, int]) -> str:
  words = {'same': 'rows in both', 'other': 'with another answer', 'subject': 'about the same'}
  return ', '.join(f'{counts[key]} {word}' for key, word in words.items() if key in counts)


def without_indices(found: dict[str, Any]) -> dict[str, Any]:
  """As `describe` has it, but the numbers of the rows."""
  shorter = lambda v: {k: x for k, x in v.items() if k != 'indices'} if isinstance(v, dict) else v
  return {key: shorter(value) for key, value in found.items()}


def show(settings: Any, tasks: list[str], form: str, export: str) -> None:
  """Prints what is told of each task, and writes the rows' numbers where `export` says."""
  names = tasks or [settings.task]
  found = [describe(dataclasses.replace(settings, task=name)) for name in names]
  if export:
    from experiments.folders import write_json

    write_json(Path(export), found)
  if form == 'json':
    print(json.dumps([without_indices(each) for each in found], indent=1))
  else:
    print('\n\n'.join(map(text, found)))


def start() -> None:
  """Runs the command."""
  from absl import flags

  from experiments import commandline

  tasks = flags.DEFINE_list('task', [], 'Tasks, commas between them.')
  form = flags.DEFINE_enum('format', 'text', ['text', 'json'], 'What is printed.')
  export = flags.DEFINE_string('export', '', 'The JSON file to write.')
  commandline.start(
    lambda job, _: show(job.data, tasks.value, form.value, export.value),
    __doc__,
    default=CONFIG,
    writes=False,
  )


if __name__ == '__main__':
  start()
