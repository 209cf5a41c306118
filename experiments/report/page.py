"""The whole page and its pictures, made of records alone."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from compacter_jax import tensor_file
from compacter_jax.errors import DataError, StorageError
from experiments.report import (
  about,
  beside_paper,
  conclusions,
  in_short,
  lines,
  random_base,
  scatter,
  series,
  summary,
  tables,
)
from experiments.report.about import tasks_of
from experiments.report.markdown import listed
from experiments.report.records import FINAL, Records, fingerprint

PAGE, HEAD = 'results.md', 'results_head.md'


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture of the page; has: whether the records hold anything to draw."""

  file: str
  title: str
  caption: Callable[[Records], str]
  has: Callable[[Records], object]
  draw: Callable[[Records, str], bytes]


def _scattered(cost: str, told: str) -> Callable[[Records], str]:
  def caption(records: Records) -> str:
    there = series.scored(records, cost)
    absent = [row.title for row in records.rows if row.name not in there]
    expected = summary.expected(records, FINAL)
    few = any(score.count < expected for _, score in there.values())
    return (
      f'Average over {tasks_of(records)}, mean over seeds with one standard deviation, against '
      f'{told}. On the dashed line are the methods that no other shown beats in both.'
      + (' Hollow marks have fewer seeds than they should.' if few else '')
      + (f' Not shown, as they lack what it takes: {listed(absent)}.' if absent else '')
    )

  return caption


def _curved(records: Records) -> str:
  there = {row for lines_ in series.curves(records).values() for row in lines_}
  drawn = listed([row.title for row in records.rows if row.name in there])
  return (
    f'Validation scores while training, at the chosen rates, of {drawn}, on tasks that were '
    'evaluated at least three times: mean over seeds, the band is from the worst seed to the best. '
    'Scores of the first third may lie below the panel. Runs that failed are left out.'
  )


PICTURES = (
  Picture(
    'score_by_parameters.png',
    'Score against trained parameters',
    _scattered('trained', 'the parameters that are trained'),
    lambda records: series.scored(records, 'trained'),
    lambda records, source: scatter.draw(records, 'trained', source),
  ),
  Picture(
    'score_by_time.png',
    'Score against training time',
    _scattered('time', 'the time of a training step, as part of that of full fine-tuning'),
    lambda records: series.scored(records, 'time'),
    lambda records, source: scatter.draw(records, 'time', source),
  ),
  Picture(
    'learning_curves.png',
    'Learning curves',
    _curved,
    series.curves,
    lines.draw_curves,
  ),
  Picture(
    'few_rows.png',
    'Score against training rows',
    lambda records: (
      'Average over the tasks of which few rows were taken: mean over seeds, the band is from the '
      'worst seed to the best.'
    ),
    series.few_rows,
    lines.draw_few_rows,
  ),
)


def page(records: Records, head: str = '') -> str:
  """The Markdown; head: what stands under the title."""
  parts = [
    f'# Results: {records.suite}',
    '',
    *([head.strip(), ''] if head.strip() else []),
    *in_short.in_short(records),
    *about.how_to_read(records),
    *tables.scores(records),
    *tables.rates(records),
    *tables.few_rows(records),
    *random_base.worth(records),
    *_pictures(records),
    *beside_paper.order(records),
    *conclusions.conclusions(records),
    *beside_paper.numbers(records),
  ]
  return '\n'.join(parts).rstrip('\n') + '\n'


def _pictures(records: Records) -> list[str]:
  parts = ['## Pictures', '']
  for each in PICTURES:
    if each.has(records):
      parts += [f'![{each.title}]({each.file})', '', each.caption(records), '']
    else:
      parts += [f'{each.title}: missing, there is no data for it.', '']
  return parts


def write(folder: Path, records: Records) -> list[Path]:
  """Fills the folder and returns what it wrote; pictures without data are removed.

  Raises StorageError where the folder cannot be written.
  """
  text, source = page(records, _head(folder)), fingerprint(records)
  drawn = {each.file: each.draw(records, source) for each in PICTURES if each.has(records)}
  try:
    folder.mkdir(parents=True, exist_ok=True)
    for each in PICTURES:
      if each.file not in drawn:  # that of earlier records would be taken for one of these
        (folder / each.file).unlink(missing_ok=True)
  except OSError as error:
    raise StorageError('There can be no page.', where=str(folder), got=str(error)) from error
  files = drawn | {PAGE: text.encode()}
  for name, content in files.items():
    with tensor_file.atomic(folder / name) as file:
      file.write(content)
  return [folder / name for name in files]


def check(folder: Path, records: Records, fix: str = '') -> None:
  """Raises DataError unless page and pictures in the folder are of these records.

  Pictures are known by the fingerprint in them, for other versions of matplotlib draw other bytes.
  """
  wanted = page(records, _head(folder)).split('\n')
  there = _text(folder / PAGE).split('\n')
  for number, (right, line) in enumerate(zip([*wanted, None], [*there, None]), 1):
    if right != line:
      raise DataError(
        'The page is not what the records make.',
        where=f'{folder / PAGE}, line {number}',
        expected=_shown(right, line),
        got=_shown(line, right),
        fix=fix,
      )
  source = fingerprint(records)
  for each in PICTURES:
    path = folder / each.file
    is_of_these = path.is_file() and source.encode() in path.read_bytes()
    if not (is_of_these if each.has(records) else not path.exists()):
      raise DataError(
        'A picture is not of these records.',
        where=str(path),
        expected=f'one that notes {source}' if each.has(records) else 'none, for want of data',
        got='another' if path.exists() else 'none',
        fix=fix,
      )


def _head(folder: Path) -> str:
  path = folder / HEAD
  return _text(path) if path.exists() else ''


def _text(path: Path) -> str:
  try:
    return path.read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise DataError('This page cannot be read.', where=str(path), got=str(error)) from error


def _shown(line: str | None, other: str | None) -> str:
  """A line from shortly before the place where the other differs."""
  if line is None:
    return 'the end'
  same = len(os.path.commonprefix([line, other or '']))
  start = max(same - 30, 0)
  return repr(('...' if start else '') + line[start : start + 90])
