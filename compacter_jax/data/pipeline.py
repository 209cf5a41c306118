"""Splits to batches of ids, in few shapes.

A batch is padded to its longest row; or its rows are of like length; or it is packed, several rows
to a line, which wastes next to nothing. A run's batches depend on the seed and the step alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from compacter_jax.data.encoding import PAD, Encoded
from compacter_jax.data.layout import Layout, one_a_line, packed, segment_table, table
from compacter_jax.data.order import Bucketed, train_rows
from compacter_jax.data.table_shapes import Shape, chosen_shapes, fitting
from compacter_jax.errors import StorageError
from compacter_jax.settings import choose

Batch = dict[str, np.ndarray]

BATCHINGS = 'padded', 'bucketed', 'packed'
WIDTHS = 16, 32, 48, 64, 96, 128, 192, 256, 384, 512
PLANNED = 2_000  # steps of a run that are looked at to choose shapes
TRIED = 32  # steps that are looked at to choose how many lines are packed


class Batches:
  """The batches of a training run by step.

  Attributes:
    batching: 'padded', 'bucketed' or 'packed'.
    height: lines of a table.
    shapes: widths of sources and targets that there are; a batch has the smallest that holds it.
  """

  def __init__(
    self,
    split: Encoded,
    batch_size: int,
    seed: int,
    batching: str = 'padded',
    unit: int = 1,
    d_model: int = 768,
    total: int | None = None,
  ):
    """unit: what the lines of a packed table are a multiple of, so that it can be cut up evenly.
    d_model: of the T5 that trains; wide ones spend less on long lines, relatively.
    total: steps of the run, behind which there are no batches; None for one without end.

    Raises ConfigError for another batching.
    """
    choose('batching', batching, BATCHINGS)
    self.split, self.batch_size, self.seed, self.batching = split, batch_size, seed, batching
    self._unit, self._total = unit, total
    self._sources, self._targets = split.sources.lengths, split.targets.lengths
    buckets = self._sources, batch_size, seed, total
    self._buckets = Bucketed(*buckets) if batching == 'bucketed' else None
    self._set(self._best_height(unit, d_model) if batching == 'packed' else batch_size)

  def rows(self, step: int) -> np.ndarray:
    """The examples of that step: int64 [batch_size]."""
    if self._buckets:
      return self._buckets.rows(step)
    return train_rows(len(self.split), self.batch_size, self.seed, step)

  def layout(self, step: int) -> Layout:
    """Where the examples of that step stand."""
    lay = packed if self.batching == 'packed' else one_a_line
    return lay(self.rows(step), self._sources, self._targets, self.height)

  def shape(self, step: int) -> Shape:
    """Columns of the two tables of that step, each of which has `height` lines."""
    return fitting(self.layout(step).widths, self.shapes)

  def batch(self, step: int, host: int = 0, hosts: int = 1) -> Batch:
    """'source' int32 [B,S] and 'target' int32 [B,T], and their segments where batches are packed.

    host: which of `hosts` equal parts of the lines is made; all have the same shape.
    """
    whole = self.layout(step)
    widths = fitting(whole.widths, self.shapes)
    layout = whole if hosts == 1 else whole.part(host, hosts)
    return filled(self.split, layout, widths, self.batching == 'packed')

  def stream(self, start: int = 0, host: int = 0, hosts: int = 1, workers: int = 1):
    """Batches from step `start` to the last, made ahead of time by that many threads."""
    import grain

    steps = grain.MapDataset.range(start, 2**40 if self._total is None else self._total)
    made = steps.map(lambda step: self.batch(int(step), host, hosts))
    ahead = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=4 * workers)
    return iter(made.to_iter_dataset(ahead))

  def position(self, step: int) -> dict[str, Any]:
    """Where a run stands, as JSON: all that decides the batches from `step` on."""
    decides = {'seed': self.seed, 'batch_size': self.batch_size, 'batching': self.batching}
    data = {'rows': len(self.split), 'data': self.split.fingerprint}
    return {'step': step, **decides, 'height': self.height, **data}

  def resumed(self, position: Mapping[str, Any]) -> int:
    """The step of a position, with as many lines to a table as it has if they can be cut up.

    On other devices they may not: then the same rows are packed into other lines.

    Raises StorageError if these are other batches than it is of.
    """
    mine = self.position(0)
    decide = mine.keys() - {'step', 'height'}
    if wrong := [name for name in mine if name in decide and position.get(name) != mine[name]]:
      raise StorageError(
        'The data is not what the run was trained on so far.',
        where=', '.join(wrong),
        expected=', '.join(str(position.get(name)) for name in wrong),
        got=', '.join(str(mine[name]) for name in wrong),
        fix='go on with the same data and settings, or start a new run',
      )
    height = int(position['height'])
    if height != self.height and height % self._unit == 0:
      self._set(height)
    return int(position['step'])

  def useful(self, steps: int) -> float:
    """The share of the ids in the tables of the first steps that are no padding."""
    full = area = 0
    for step in range(steps):
      rows, layout = self.rows(step), self.layout(step)
      full += int(self._sources[rows].sum() + self._targets[rows].sum())
      area += layout.height * sum(fitting(layout.widths, self.shapes))
    return full / area

  def _set(self, height: int) -> None:
    """Tables of so many lines, and the widths that suit them."""
    self.height = height
    if self.batching == 'padded':
      self.shapes = _fixed_shapes(self.split)
    else:
      self.shapes = chosen_shapes(self.layout(step).widths for step in range(self._planned()))

  def _planned(self) -> int:
    epoch = -(-len(self.split) // self.batch_size)
    planned = min(max(3 * epoch, 1), PLANNED)
    return planned if self._total is None else min(planned, self._total)

  def _best_height(self, unit: int, d_model: int) -> int:
    """How many lines cost least: few waste less, but attention grows with their length.

    At a length of 6 d_model T5 spends as much on the products of attention as on all others.
    """
    heights = sorted(
      {-(-max(self.batch_size // k, 1) // unit) * unit for k in (1, 2, 3, 4, 6, 8, 16)}
    )
    steps = range(min(self._planned(), TRIED))

    def cost(height: int) -> float:
      layouts = (packed(self.rows(s), self._sources, self._targets, height) for s in steps)
      return sum(
        height * sum(each.widths) * (1 + each.widths[0] / (6 * d_model)) for each in layouts
      )

    return min(heights, key=cost)


def train_batches(
  split: Encoded, batch_size: int, seed: int, start_step: int = 0, batching: str = 'padded'
) -> Iterator[Batch]:
  """Endless batches from `start_step` on: 'source' int32 [B,S], 'target' int32 [B,T].

  The rows are those of `train_rows`; PAD fills the ends. See `Batches`.
  """
  batches, step = Batches(split, batch_size, seed, batching), start_step
  while True:
    yield batches.batch(step)
    step += 1


def eval_batches(split: Encoded, batch_size: int) -> Iterator[Batch]:
  """Every row once, longest sources first: 'source', 'target' and 'rows' int64 [B].

  'rows' are indices into the split; -1 marks the empty rows that fill the last batch. The longest
  come first because a batch that does not fit into memory should say so at once.
  """
  shapes = _fixed_shapes(split)
  by_length = np.argsort(-split.sources.lengths, kind='stable')
  for start in range(0, len(split), batch_size):
    rows = by_length[start : start + batch_size]
    layout = one_a_line(rows, split.sources.lengths, split.targets.lengths, batch_size)
    shape = fitting(layout.widths, shapes)
    filler = np.full(batch_size - len(rows), -1)
    yield filled(split, layout, shape) | {'rows': np.concatenate([rows, filler])}


def _fixed_shapes(split: Encoded) -> list[Shape]:
  widths = [width for width in WIDTHS if width < split.max_source] + [split.max_source]
  return [(width, split.target_width) for width in widths]


def filled(split: Encoded, layout: Layout, shape: Shape, segments: bool = False) -> Batch:
  """The tables of a layout, in that shape."""
  out = {}
  both = ('source', split.sources, layout.source_at), ('target', split.targets, layout.target_at)
  for (name, texts, at), width in zip(both, shape):
    out[name] = table(texts, layout, at, width, PAD)
    if segments:
      out[f'{name}_segments'] = segment_table(texts, layout, at, width)
  return out
