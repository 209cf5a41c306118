"""Every config side by side: what it reaches from few rows, what a step costs, whether it folds.

    python -m experiments.compare --workdir=W --data.dir=DIR
    python -m experiments.compare --workdir=W --only=cost --config experiments/configs/lora.py

accuracy: each config trains on the first --rows rows of a task with a small T5 (--model), once for
every rate of a grid: --grid times the config's own, or --rates. The best on 500 validation rows is
reported.
cost: a training step on T5 of a published --size with --layers in each stack, batch 8 x 128 to 8
labels: its time and the memory it is compiled to, beside full fine-tuning in alternating steps.
fold: whether the plain T5 can compute the same. Widths and layers are fitted to each T5.

Every finished piece is a file in W and is not made again, so the command may be stopped at any
time. --write=FILE puts the table into that file, between two marks: <!-- comparison --> and
<!-- /comparison -->, or those of another --mark.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from compacter_jax.errors import ConfigError, DataError, StorageError
from compacter_jax.settings import within
from experiments.configs import config_files
from experiments.guard import guarded

KINDS = 'accuracy', 'cost', 'fold'


def main(argv: list[str]) -> None:
  """Measures what is missing and prints the table."""
  flags = _flags(argv)
  from experiments import comparison

  configs = flags.config or [path for path in config_files() if path.stem != 'quickstart']
  pieces = [piece for path in configs for piece in comparison.pieces(path, flags)]
  if flags.write:
    insert(flags.write, None, flags.mark)  # what cannot be written is told before the work
  wanted = [piece for kind in flags.only for piece in pieces if piece.kind == kind]
  absent = [piece for piece in wanted if not piece.path(flags.workdir).exists()]
  reads = flags.task == 'sst2' and any(piece.kind == 'accuracy' for piece in absent)
  if reads and not flags.data_dir:
    raise DataError(
      'It is not said where the rows are.',
      expected='a folder with the files of SST-2',
      fix='--data.dir=DIR, or --only=cost fold',
    )
  try:
    flags.workdir.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise StorageError(
      'There can be no such folder.', where=str(flags.workdir), got=str(error)
    ) from error
  comparison.measure(wanted, flags.workdir)
  text = table(configs, comparison.done(pieces, flags.workdir), flags)
  print(f'\n{text}')
  if flags.write:
    insert(flags.write, text, flags.mark)


def _flags(argv: list[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m experiments.compare',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--workdir', required=True, type=Path, help='where the pieces are and will be')
  add('--config', nargs='*', type=Path, help='config files; by default all')
  add('--only', nargs='*', choices=KINDS, default=KINDS, help='what to measure now')
  add('--data.dir', dest='data_dir', default='', help='the folder of the rows')
  add('--task', default='sst2', help='quickstart needs no rows; or the path of a task.json')
  add('--model', default='nano', help='that is trained, as in --config.model')
  add('--rows', type=int, default=500, help='training rows')
  add('--steps', type=int, default=1200)
  add('--batch', type=int, default=8)
  add('--warmup', type=int, default=100)
  add('--grid', nargs='*', type=float, default=[1, 3, 10], help="times the config's rate")
  add('--rates', nargs='*', type=float, default=[], help='instead of the grid, the same for all')
  add('--seed', type=int, default=42)
  add('--size', default='t5-base', help='whose step is measured')
  add('--layers', type=int, default=6, help='of each stack')
  add('--vocab', type=int, default=8192, help='rows of the embedding')
  add('--rounds', type=int, default=9, help='steps of each')
  add('--write', type=Path, help='a file with two marks')
  add('--mark', default='comparison', help='what they say')
  flags = parser.parse_args(argv)
  for field in 'steps', 'batch', 'layers', 'rounds':
    within(f'--{field}', getattr(flags, field), 1)
  return flags


Done = dict[tuple[str, str], list[dict[str, Any]]]


def table(configs: list[Path], done: Done, flags: argparse.Namespace) -> str:
  """What is there, as Markdown: a row for each config, then how to read it.

  Columns of which nothing is measured are left out.
  """
  small = Path(flags.model).name
  head = ['config', 'trained on T5-base', 'share', f'on {small}', 'file', 'rate']
  head += ['accuracy', 'over majority', 'step', 'memory', 'folds']
  rows = [head, ['---', *['---:'] * (len(head) - 2), '---']]
  notes: dict[str, list[str]] = {}
  for path in configs:
    name = path.stem
    tried = done.get(('accuracy', name), [])
    folds = done.get(('fold', name), [{}])[0]
    cells = _counted(path) + _scored(tried) + _cost(done.get(('cost', name), [{}])[0])
    rows.append([f'`{name}`', *cells, folds.get('folds', '-')])
    for piece in (*tried, *done.get(('cost', name), []), folds):
      if 'why' in piece:
        notes.setdefault(piece['why'], []).append(name)
  kept = [i for i in range(len(head)) if any(row[i] != '-' for row in rows[2:])]
  lines = ['| ' + ' | '.join(row[i] for i in kept) + ' |' for row in rows]
  lines += ['', *_read_as(done, flags)]
  lines += [f'- {", ".join(dict.fromkeys(names))}: {why}' for why, names in notes.items()]
  return '\n'.join(lines)


def _counted(path: Path) -> list[str]:
  """Trained on T5-base, its share in percent."""
  from experiments.count import PAPER_VOCAB, count

  (row,) = count('t5-base', PAPER_VOCAB, [path], 1)['rows']
  return [f'{row["trained"]:,}', f'{row["percent"]:.3f} %'] if 'trained' in row else ['-', '-']


def _scored(tried: list[dict[str, Any]]) -> list[str]:
  """Of the rate that is best on validation rows: trained, file, rate, test accuracy, margin.

  Behind the rate stands how many were tried.
  """
  scored = [run for run in tried if 'test' in run]
  if not scored:
    return ['-'] * 5
  best = max(scored, key=lambda run: run['validation']['average'])
  test = best['test']['accuracy']
  file = f'{best["adapter_bytes"] / 1e6:.2f} MB'
  rate = f'{best["settings"]["optim"]["rate"]:g} ({len(tried)})'
  margin = f'{test - best["majority"]:+.1f}'
  return [f'{best["parameters"]["trained"]:,}', file, rate, f'{test:.1f}', margin]


def _cost(cost: dict[str, Any]) -> list[str]:
  """Time and memory relative to full fine-tuning."""
  if 'time' not in cost:
    return ['-', '-']
  return [f'{cost["time"]:.2f}', f'{cost["memory"] / cost["full_memory"]:.2f}']


def _read_as(done: Done, flags: argparse.Namespace) -> list[str]:
  runs = [run for (kind, _), found in done.items() if kind == 'accuracy' for run in found]
  costs = [found[0] for (kind, _), found in done.items() if kind == 'cost' and 'time' in found[0]]
  lines = []
  if scored := [run for run in runs if 'test' in run]:
    sizes, majority = scored[0]['rows'], scored[0]['majority']
    grid = ', '.join(f'{rate:g}' for rate in flags.rates or flags.grid)
    grid += '' if flags.rates else " times the config's own"
    lines += [
      f'Accuracy on {scored[0]["task"]} in percent with {Path(flags.model).name}: '
      f'{sizes["train"]} rows to train on, {flags.steps} steps of {flags.batch}, warmup '
      f'{flags.warmup}, seed {flags.seed}, one run each. Rates are of {grid}; shown is the best on '
      f'{sizes["validation"]} validation rows, in brackets how many were tried. Test is '
      f'{sizes["test"]} rows, of which the majority class has {majority:.1f} %; the standard error '
      'of a score is up to '
      f'{50 / sizes["test"] ** 0.5:.1f} points.',
      '',
    ]
  if costs:
    full = costs[0]
    lines += [
      f'Step and memory are relative to full fine-tuning ({full["full_ms"]:,.0f} ms, '
      f'{full["full_memory"] / 2**20:,.0f} MB): {flags.size} sizes, {flags.layers} layers in each '
      f'stack, {flags.vocab:,} rows of vocabulary, batch 8 x 128 to 8 labels, float32, AdamW, '
      f'{full["device"]}; medians of {flags.rounds} alternating steps. Memory is that of all '
      'inputs, outputs and temporaries of the compiled step.',
      '',
    ]
  return lines


def insert(file: Path, text: str | None, mark: str) -> None:
  """Replaces what stands between the marks; None only looks for them.

  Raises:
    ConfigError: they are not there.
  """
  from compacter_jax import tensor_file

  page = file.read_text() if file.is_file() else ''
  marks = f'<!-- {mark} -->', f'<!-- /{mark} -->'
  before, first, rest = page.partition(marks[0])
  _, last, after = rest.partition(marks[1])
  if not first or not last:
    raise ConfigError(
      'This file has no place for the table.', where=str(file), expected=' and '.join(marks)
    )
  if text is not None:
    with tensor_file.atomic(file) as out:
      out.write(f'{before}{first}\n{text}\n{last}{after}'.encode())


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
