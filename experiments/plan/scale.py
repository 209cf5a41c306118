"""The table of docs/scale.md: which T5s fit which TPU slices, with which method.

    python -m experiments.plan.scale --workdir=W --write=docs/scale.md
    python -m experiments.plan.scale --workdir=W --model=t5-11b --topology=v5e:4x4 --batch=16

Each T5 x method x slice is a piece: a file in W that is not made again, so that the command may be
stopped at any time. Weights and activations are bfloat16, layers are computed again in the backward
pass (remat full), sources have 512 ids and targets 64. Of a few meshes, from weights on every chip
to weights split over all, that is taken whose step of 8 rows a chip is fastest, or of 1 where that
fits on none; then its largest batch is looked for. Where the T5 is frozen all methods take the mesh
of the first of them, so that each compiles a few programs and not a dozen. --batch takes that batch
and looks for none.
"""

import argparse
import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compacter_jax.errors import ConfigError
from experiments.configs import HERE, config_files, read_config
from experiments.guard import guarded

MODELS = 't5-base', 't5-3b', 't5-11b', 'ul2'
CONFIGS = 'full', 'adapter', 'compacter', 'lora', 'prompt'
TOPOLOGIES = 'v5e:4x4', 'v5e:16x16', 'v5p:4x4x4', 'v6e:4x4'
SOURCE, TARGET = 512, 64
TENSOR = 1, 4, 8  # ways to split a matrix that are tried
PER_CHIP = 8, 1  # rows of a step by which meshes are compared, the first that fits
TRAINS_ALL = 'full'  # the config whose memory is not that of the others
HEAD = 'model', 'method', 'slice', 'mesh', 'rows', 'memory', 'floor, ms', 'rows/s', 'wall'


def main(argv: list[str]) -> None:
  """Makes what is missing and prints the table."""
  flags = _flags(argv)
  from experiments import folders
  from experiments.plan import topology

  folders.make_folder(flags.workdir)
  pieces = [(t, m, c) for t in flags.topology for m in flags.model for c in flags.config]
  known: dict[tuple[str, str], dict[str, int]] = {}  # the mesh of a frozen T5 on a slice
  for i, (slice_, model, config) in enumerate(pieces):
    path = _path(flags.workdir, model, config, slice_, flags.batch)
    if not path.exists():
      print(f'{i + 1}/{len(pieces)} {model}, {config}, {slice_}', file=sys.stderr, flush=True)
      found = topology.find(slice_)
      mesh = None if config == TRAINS_ALL else known.get((slice_, model))
      try:
        result = piece(model, config, found, flags.batch, mesh)
      except ConfigError as error:  # the others may do well
        result = {'why': f'{error.what} {error.got}'.strip()}
      about = {'model': model, 'config': config, 'topology': slice_}
      folders.write_json(path, about | result)
    one = json.loads(path.read_text()).get('estimate')
    if config != TRAINS_ALL and one and one['memory']['fits']:
      known.setdefault((slice_, model), one['mesh'])
  text = table([_path(flags.workdir, m, c, t, flags.batch) for t, m, c in pieces])
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


def piece(
  model: str, config: str, found: Any, batch: int, mesh: dict[str, int] | None = None
) -> dict[str, Any]:
  """The plan on that mesh, or else on the best of a few."""
  from experiments import schema
  from experiments.plan import planning, search
  from experiments.plan.programs import Programs, config_of

  told = lambda text: print(f'  {text}', file=sys.stderr, flush=True)
  chips, cfg, ids = len(found.devices), config_of(model), (SOURCE, TARGET)
  choices = [schema.Mesh(**mesh, devices=chips)] if mesh else list(meshes(chips))
  for rows in [batch] if batch else [each * chips for each in PER_CHIP]:
    settings = _settings(model, config, rows)
    one = functools.partial(planning.on_mesh, schema.job(settings), cfg, found, ids, told)
    tried = search.search(iter(choices), one, told)
    best = tried[0]
    if best.estimate and best.estimate.memory.fits:
      break
  if best.estimate is None:
    return {'why': best.why}
  every = [
    {
      'mesh': vars(each.mesh),
      'why': each.why,
      'estimate': each.estimate and each.estimate.as_json(),
    }
    for each in tried
  ]
  result = {'estimate': best.estimate.as_json(), 'tried': every}
  if not batch and best.estimate.memory.fits:
    job = schema.job(settings | {'mesh': vars(best.mesh)})
    programs = Programs(job, cfg, found)
    seen = {best.estimate.rows: best.estimate}

    def measured(program):
      seen[program.rows] = planning.estimate(program, found, told)
      return seen[program.rows]

    rows = planning.largest(programs, ids, best.estimate, measured)
    result |= {'largest': rows, 'estimate': seen[rows].as_json()}
  return result


def meshes(chips: int) -> Iterator[Any]:
  """Weights on every chip; split over all; and these with matrices split in a few."""
  from experiments.schema import Mesh

  yield Mesh(chips, 1, 1, chips)
  for tensor in (each for each in TENSOR if chips % each == 0):
    yield Mesh(1, chips // tensor, tensor, chips)


def _settings(model: str, config: str, batch: int) -> dict[str, Any]:
  settings = read_config(HERE / f'{config}.py').to_dict()
  own = {'model': model, 'batch_size': batch, 'accumulate': 1, 'remat': 'full'}
  own |= {'dtype': 'bfloat16', 'weights_dtype': 'bfloat16'}
  return settings | own | {'data': settings['data'] | {'max_source': SOURCE, 'max_target': TARGET}}


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
  memory, floor = one['memory'], one['roofline']
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
  return f"""# Scale

Which T5s can be trained on which TPU slices, as the TPUs' own compiler has it: nothing here was run
on a TPU. Written by `python -m experiments.plan.scale --workdir=W --write=docs/scale.md`; weights
and activations in bfloat16, `remat=full`, sources of {SOURCE} ids and targets of {TARGET}, AdamW.
The mesh is data x fsdp x tensor, the fastest of a few at {PER_CHIP[0]} rows a chip; where the T5 is
frozen, all methods take that of adapter. Rows are the most that fit. The floor is the largest of
three: products at the chip's peak, traffic with its memory, what it sends to others. A real step
takes longer.

{text}
"""


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
