"""Estimates for people, as text or Markdown."""

from collections.abc import Sequence

from experiments.plan.estimate import Estimate
from experiments.plan.search import Tried
from experiments.plan.topology import Topology
from experiments.report import markdown
from experiments.schema import Job, Mesh

NONE = '-'
GROUPS = {'frozen': 'frozen weights', 'tuned': 'tuned', 'optimizer': 'optimizer state'}
WALLS = {'compute': 'compute', 'hbm': 'HBM', 'interconnect': 'interconnect'}
TITLE = 'on each chip'


def head(job: Job, config: str, topology: Topology, chips: int) -> str:
  """What is planned."""
  weights = 'float32 (unless the file has less)' if job.weights_dtype == 'file' else None
  return '\n'.join(
    [
      f'{job.model}, {config}, {topology.name}: {chips} {topology.chip.kind}',
      f'weights {weights or job.weights_dtype}, activations {job.dtype}, remat {job.remat}, '
      f'{job.accumulate} parts, sources of {job.data.max_source} ids',
    ]
  )


def estimates(found: Sequence[Estimate], form: str) -> str:
  """A table with a column for each program."""
  rows = [['mesh', *(mesh(each.mesh) for each in found)]]
  rows += [['rows on all chips', *(f'{each.rows:,}' for each in found)]]
  rows += _memory(found)
  rows += [['products, GFLOP', *(f'{each.flops / 1e9:,.1f}' for each in found)]]
  rows += [['HBM traffic, MB', *(_megabytes(each.traffic) for each in found)]]
  rows += _sent(found)
  for wall, name in WALLS.items():
    rows += [[f'{name}, ms', *(_ms(each, wall) for each in found)]]
  rows += [['floor, ms', *(_floor(each) for each in found)]]
  rows += [['compiled in, s', *(f'{each.seconds:,.0f}' for each in found)]]
  return '\n'.join(table([TITLE, *(each.name for each in found)], rows, form))


def _memory(found: Sequence[Estimate]) -> list[list[str]]:
  names = list(dict.fromkeys(name for each in found for name in each.memory.groups))
  rows = []
  for name in names:
    cells = [each.memory.groups.get(name) for each in found]
    rows.append([f'{GROUPS.get(name, name)}, MiB', *map(_mebibytes, cells)])
  parts = {
    'padding of layouts': 'padding',
    'results': 'results',
    'temporaries': 'temporaries',
    'program': 'code',
    'kept beside it': 'beside',
    'total': 'total',
    'there is': 'limit',
  }
  for name, part in parts.items():
    cells = [getattr(each.memory, part) for each in found]
    rows.append([f'{name}, MiB', *map(_mebibytes, cells)])
  known = [each.memory.limit is not None for each in found]
  answers = ['yes' if each.memory.fits else 'no' for each in found]
  rows.append(['fits', *(a if k else NONE for a, k in zip(answers, known))])
  return rows


def _sent(found: Sequence[Estimate]) -> list[list[str]]:
  kinds = list(dict.fromkeys(c.kind for each in found for c in each.collectives))
  rows = []
  for kind in kinds:
    cells = []
    for each in found:
      here = [c for c in each.collectives if c.kind == kind]
      cells.append(f'{here[0].count:,} x, {here[0].bytes / 1e6:,.1f}' if here else NONE)
    rows.append([f'{kind}, MB sent', *cells])
  return rows


def meshes(tried: Sequence[Tried], form: str) -> str:
  """A row for each mesh, the best first."""
  titles = ['mesh', 'rows', 'total, MiB', 'sent, MB', 'floor, ms', 'us a row', 'wall']
  rows = []
  for each in tried:
    name, found = mesh(each.mesh), each.estimate
    if found is None:
      rows.append([name, NONE, NONE, NONE, NONE, NONE, each.why])
      continue
    cells = [f'{found.rows:,}', f'{found.memory.total / 2**20:,.0f}', f'{found.sent / 1e6:,.1f}']
    if not found.memory.fits:
      rows.append([name, *cells[:2], NONE, NONE, NONE, 'does not fit'])
    elif floor := found.roofline:
      times = f'{1e3 * floor.seconds:,.2f}', f'{1e6 * floor.seconds / found.rows:,.1f}'
      rows.append([name, *cells, *times, WALLS[floor.wall]])
    else:
      rows.append([name, *cells, NONE, NONE, NONE])
  return '\n'.join(table(titles, rows, form))


def mesh(sizes: dict[str, int] | Mesh) -> str:
  """'4 x 2 x 2', of data, fsdp and tensor."""
  if isinstance(sizes, Mesh):
    sizes = {'data': sizes.data, 'fsdp': sizes.fsdp, 'tensor': sizes.tensor}
  return ' x '.join(str(size) for size in sizes.values())


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], form: str) -> list[str]:
  """The lines of a table, in Markdown or in columns."""
  if form == 'markdown':
    return markdown.table(titles, rows)
  widths = [max(len(row[i]) for row in (titles, *rows)) for i in range(len(titles))]
  right = lambda row: [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
  return ['  '.join([row[0].ljust(widths[0]), *right(row)]).rstrip() for row in (titles, *rows)]


def _mebibytes(size: int | None) -> str:
  return NONE if size is None else f'{size / 2**20:,.1f}'


def _megabytes(size: int | None) -> str:
  return NONE if size is None else f'{size / 1e6:,.1f}'


def _ms(found: Estimate, wall: str) -> str:
  return f'{1e3 * getattr(found.roofline, wall):,.2f}' if found.roofline else NONE


def _floor(found: Estimate) -> str:
  if not found.roofline:
    return NONE
  return f'{1e3 * found.roofline.seconds:,.2f}, {WALLS[found.roofline.wall]}'
