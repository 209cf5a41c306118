"""The table of docs/scale.md: which T5s fit which TPU slices, with which method.

    python -m experiments.plan.scale --workdir=W --write=docs/scale.md
    python -m experiments.plan.scale --workdir=W --model=t5-11b --topology=v5e:4x4 --batch=16

Each T5 x method x slice is a piece: a file in W that is not made again, so that the command may be
stopped at any time. Weights and activations are bfloat16, layers are computed again in the backward
pass (remat full), sources have 512 ids and targets 64. The mesh is the first that fits 8 rows a
chip, or 1 where none does: weights on every chip, weights split over all, then matrices split as
well. Its rows are doubled while they fit, to 128 a chip. Where the T5 is frozen all methods take
the mesh of the first of them. --batch takes that batch and looks for none.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from compacter_jax.errors import ConfigError
from experiments.configs import config_files
from experiments.guard import guarded

MODELS = 't5-base', 't5-3b', 't5-11b', 'ul2'
CONFIGS = 'full', 'adapter', 'compacter', 'lora', 'prompt'
TOPOLOGIES = 'v5e:4x4', 'v5e:16x16', 'v5p:4x4x4', 'v6e:4x4'
TRAINS_ALL = 'full'  # the config whose memory is not that of the others
HEAD = 'model', 'method', 'slice', 'mesh', 'rows', 'memory', 'floor, ms', 'rows/s', 'wall'


def main(argv: list[str]) -> None:
  """Makes what is missing and prints the table."""
  flags = _flags(argv)
  from experiments import folders
  from experiments.plan import pieces, programs, topology

  for model in flags.model:  # before anything is compiled or written
    programs.config_of(model)
  slices = {name: topology.find(name) for name in flags.topology}
  folders.make_folder(flags.workdir)
  wanted = [(t, m, c) for t in flags.topology for m in flags.model for c in flags.config]
  known: dict[tuple[str, str], tuple[dict[str, int], int]] = {}  # of a frozen T5 on a slice
  for i, (slice_, model, config) in enumerate(wanted):
    path = _path(flags.workdir, model, config, slice_, flags.batch)
    if not path.exists():
      print(f'{i + 1}/{len(wanted)} {model}, {config}, {slice_}', file=sys.stderr, flush=True)
      near = None if config == TRAINS_ALL else known.get((slice_, model))
      try:
        result = pieces.piece(model, config, slices[slice_], flags.batch, near)
      except ConfigError as error:  # the others may do well
        result = {'why': f'{error.what} {error.got}'.strip()}
      about = {'model': model, 'config': config, 'topology': slice_}
      folders.write_json(path, about | result)
    one = json.loads(path.read_text()).get('estimate')
    if config != TRAINS_ALL and one and one['memory']['fits']:
      known.setdefault((slice_, model), (one['mesh'], one['rows']))
  text = table([_path(flags.workdir, m, c, t, flags.batch) for t, m, c in wanted])
  print(text)
  if flags.write:
    flags.write.write_text(page(text))


def _flags(argv: list[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m experiments.plan.scale',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--workdir', required=True, type=Path, help='where the pieces are and will be')
  add('--model', nargs='*', default=MODELS, help='published sizes')
  add('--config', nargs='*', default=CONFIGS, choices=[p.stem for p in config_files()])
  add('--topology', nargs='*', default=TOPOLOGIES, help='slices')
  add('--batch', type=int, default=0, help='rows of a step; 0 looks for the largest')
  add('--write', type=Path, help='the page to write')
  return parser.parse_args(argv)


def _path(workdir: Path, model: str, config: str, slice_: str, batch: int) -> Path:
  return workdir / f'{model}-{config}-{slice_.replace(":", "-")}-{batch or "largest"}.json'


def table(paths: list[Path]) -> str:
  """A row for each piece that is there."""
  from experiments.plan import text

  rows = [_row(json.loads(path.read_text())) for path in paths if path.exists()]
  return '\n'.join(text.table(HEAD, rows, 'markdown'))


def _row(found: dict[str, Any]) -> list[str]:
  from experiments.plan import text

  about = [found['model'], found['config'], found['topology']]
  one = found.get('estimate')
  if one is None:
    return [*about, *['-'] * 5, found['why']]
  memory, floor = one['memory'], one.get('roofline')
  share = f'{memory["total"] / 2**30:.1f} GiB'
  if memory['limit'] is not None:
    share = f'{memory["total"] / 2**30:.1f} of {memory["limit"] / 2**30:.2f} GiB'
  if not memory['fits']:
    return [*about, text.mesh(one['mesh']), 'none', share, '-', '-', 'does not fit']
  if floor is None:  # of a device without figures
    return [*about, text.mesh(one['mesh']), f'{one["rows"]:,}', share, *['-'] * 3]
  speed = f'{1e3 * floor["seconds"]:,.0f}', f'{one["rows"] / floor["seconds"]:,.0f}'
  cells = text.mesh(one['mesh']), f'{one["rows"]:,}', share, *speed
  return [*about, *cells, text.WALLS[floor['wall']]]


def page(text: str) -> str:
  """The whole page."""
  from experiments.plan import pieces

  (each, least), most = pieces.PER_CHIP, pieces.MOST
  source, target = pieces.SOURCE, pieces.TARGET
  return f"""# Scale

Which T5s can be trained on which TPU slices, as the TPUs' own compiler has it: nothing here was run
on a TPU. Written by `python -m experiments.plan.scale --workdir=W --write=docs/scale.md`; weights
and activations in bfloat16, `remat=full`, sources of {source} ids and targets of {target}, AdamW.
The mesh is data x fsdp x tensor, the first that fits {each} rows a chip, or {least} where none
does: weights on every chip, split over all, then matrices split as well. Where the T5 is frozen,
all methods take that of adapter. Rows are the most of {least}, 2, 4, 8 and so on to {most} a chip
that fit; where they are fewer than {most} up to twice as many may. The floor is the largest of
three: products at the chip's peak, traffic with its memory, what it sends to others. A real step
takes longer.

{text}
"""


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
