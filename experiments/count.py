"""Counts what each config trains, from declarations alone: no weights are read or made.

    python -m experiments.count --model=t5-base --vocab=32100
    python -m experiments.count --model=DIR --config=experiments/configs/compacter.py --format=json

--vocab sets the rows of the embedding: the paper counts T5 with the tokenizer's 32,100 rows, the
published checkpoints have 32,128. `total` is the paper's ratio for --tasks tasks that share one T5:
1 + tasks x (what is trained, layer norms left out) / T5. `paper` is the share in percent that
Karimi Mahabadi et al. 2021 (arXiv:2106.04647) print for T5-base in their tables.
"""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compacter_jax.errors import CompacterError
from experiments.configs import config_files, read_config
from experiments.guard import guarded

# As printed, by config. Those with a star are recalled: the paper's text says none of them again.
PAPER = {
  'full': '100*',
  'adapter': '0.832',
  'pfeiffer': '0.427*',
  'adapterdrop': '0.494*',
  'low_rank_adapter': '0.073*',
  'prompt': '0.034*',
  'prompt_vocabulary': '0.034*',
  'intrinsic_said': '0.009',
  'bitfit': '0.126*',
  'phm_adapter': '0.179',
  'compacter': '0.073',
  'compacter_pp': '0.047',
}
PAPER_VOCAB = 32_100


def main(argv: list[str]) -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.count',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--model', default='t5-base', help='a published size, or a folder')
  parser.add_argument('--vocab', type=int, help='rows of the embedding; by default as published')
  parser.add_argument('--config', nargs='*', type=Path, help='config files; by default all')
  parser.add_argument('--tasks', type=int, default=8, help='tasks that share one T5')
  parser.add_argument('--format', choices=('text', 'json'), default='text')
  flags = parser.parse_args(argv)
  table = count(flags.model, flags.vocab, flags.config or config_files(), flags.tasks)
  print(json.dumps(table, indent=1) if flags.format == 'json' else text(table))


def count(model: str, vocab: int | None, configs: list[Path], tasks: int) -> dict[str, Any]:
  """The table: the base's parameters and a row for each config."""
  from compacter_jax import methods, t5
  from compacter_jax.hub_names import SHIPPED
  from compacter_jax.model import Model

  here = Path(model).is_dir() or model in SHIPPED
  cfg = t5.read_config(model) if here else t5.size_named(model)
  if vocab is not None:
    cfg = dataclasses.replace(cfg, vocab=vocab)
  base, rows = t5.count(cfg), []
  for path in configs:
    row: dict[str, Any] = {'config': path.stem}
    if cfg == dataclasses.replace(t5.size_named('t5-base'), vocab=cfg.vocab):
      row['paper'] = PAPER.get(path.stem, '')
    settings = read_config(path).method.to_dict()
    try:
      method = methods.from_config(settings)
      row |= _row(Model(cfg, method), base, tasks)
    except CompacterError as error:  # e.g. an n that does not divide: the others still count
      row['error'] = f'{error.what} {error.fix}'.strip()
    rows.append(row)
  return {'model': model, 'vocab': cfg.vocab, 'base': base, 'tasks': tasks, 'rows': rows}


def _row(model: Any, base: int, tasks: int) -> dict[str, Any]:
  from compacter_jax import method as method_lib
  from compacter_jax.model import abstract

  specs, weights = model.specs(), abstract(model.cfg)
  trained = method_lib.count(specs)
  norms = sum(
    math.prod(s.shape) for path, s in _named(specs.weights) if path.endswith('norm/scale')
  )
  replaced = model.method.superseded(weights)
  # What a task replaces in T5 itself, layer norms again left out, is not shared with the others.
  own = sum(math.prod(weights[p].shape) for p in replaced if not p.endswith('norm/scale'))
  return {
    'trained': trained,
    'without_norms': trained - norms,
    'percent': 100 * trained / base,
    'total': 1 - own / base + tasks * (trained - norms) / base,
  }


def _named(tree: Any, path: str = ''):
  """The Specs of nested dicts with their paths."""
  if isinstance(tree, Mapping):
    for name, inner in tree.items():
      yield from _named(inner, f'{path}/{name}')
  else:
    yield path, tree


def text(table: dict[str, Any]) -> str:
  """The table for people."""
  head = 'config', 'trained', 'without norms', '% of T5', 'paper', f'total x{table["tasks"]}'
  lines = [f'{table["model"]}: {table["base"]:,} parameters, {table["vocab"]:,} rows of vocabulary']
  lines += ['', f'{head[0]:18}{head[1]:>16}{head[2]:>16}{head[3]:>11}{head[4]:>9}{head[5]:>11}']
  for row in table['rows']:
    if 'error' in row:
      lines.append(f'{row["config"]:18}{row["error"]}')
      continue
    cells = f'{row["trained"]:16,}{row["without_norms"]:16,}{row["percent"]:11.4f}'
    lines.append(f'{row["config"]:18}{cells}{row.get("paper", ""):>9}{row["total"]:11.4f}')
  return '\n'.join([*lines, *notes(table)])


def notes(table: dict[str, Any]) -> list[str]:
  """How the shares beside the paper's are to be read, and which differ."""
  beside = [row for row in table['rows'] if row.get('paper') and 'percent' in row]
  if not beside:
    return []
  lines = ['', 'paper: as printed, the norms counted; * recalled, not read again.']
  if differ := [row for row in beside if not agrees(row)]:
    told = [f'{row["config"]} ({row["percent"]:.4f} for {row["paper"]})' for row in differ]
    lines.append(f'With other settings than the published ones: {", ".join(told)}.')
  else:
    lines.append(f'All {len(beside)} agree in every digit that is printed.')
  if table['vocab'] != PAPER_VOCAB:
    lines.append(f'The paper counts {PAPER_VOCAB:,} rows of vocabulary (--vocab={PAPER_VOCAB}).')
  return lines


def agrees(row: dict[str, Any]) -> bool:
  """Whether the share is the paper's, rounded as it is printed there."""
  printed = row['paper'].rstrip('*')
  return f'{row["percent"]:.{len(printed.partition(".")[2])}f}' == printed


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
