"""Tables and numbers as Markdown."""

from collections.abc import Sequence

from experiments.report.statistics import Spread

NONE = '-'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> list[str]:
  """The lines of a table; but for the first `texts`, columns are of numbers and stand right."""
  marks = ['---'] * texts + ['---:'] * (len(head) - texts)
  flat = lambda cell: ' '.join(cell.split()).replace('|', '\\|')
  lines = [[flat(cell) for cell in row] for row in (head, *rows)]
  return ['| ' + ' | '.join(row) + ' |' for row in (lines[0], marks, *lines[1:])]


def spread(found: Spread | None, expected: int) -> str:
  """'31.2 ± 0.8', with how many seeds there are where some are missing."""
  if not found:
    return NONE
  text = f'{found.mean:.1f}'
  if found.deviation is not None:
    text += f' ± {found.deviation:.1f}'
  return text + (f' ({found.count} of {expected})' if found.count < expected else '')


def number(value: float | None, form: str) -> str:
  """The value in a format, '-' for none."""
  return NONE if value is None else form.format(value)


def megabytes(size: int | None) -> str:
  """With three digits, so that a file of some KB is not 0."""
  return NONE if size is None else f'{size / 1e6:.3g} MB'


def listed(texts: Sequence[str], last: str = 'and') -> str:
  """'a, b and c'."""
  return f' {last} '.join(filter(None, [', '.join(texts[:-1]), *texts[-1:]]))


def many(count: int, name: str) -> str:
  """'1 seed', '3 seeds'."""
  return f'{count:,} {name}' + ('' if count == 1 else 's')
