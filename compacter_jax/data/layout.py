"""Where the examples of a batch stand: one to a line, or several packed into each.

Packed examples do not see each other: a segment number stands beside every id, attention stays
within a segment, and T5's positions are relative, so each is computed as if it were alone.
"""

from typing import NamedTuple

import numpy as np

from compacter_jax.data.ragged import Ragged


class Layout(NamedTuple):
  """The places of n examples in tables of `height` lines.

  Attributes:
    rows: the examples: int64 [n].
    lines: the line of each. segments: its number within the line, from 1.
    source_at, target_at: the first column of its source and of its target.
    widths: columns that the sources and the targets need.
  """

  rows: np.ndarray
  lines: np.ndarray
  segments: np.ndarray
  source_at: np.ndarray
  target_at: np.ndarray
  height: int
  widths: tuple[int, int]

  def part(self, index: int, count: int) -> 'Layout':
    """The examples in the index-th of `count` equal runs of lines: one host's, or one device's."""
    height = self.height // count
    mine = self.lines // height == index
    places = (a[mine] for a in (self.rows, self.lines, *self[2:5]))
    rows, lines, segments, source_at, target_at = places
    lines = lines - index * height
    return Layout(rows, lines, segments, source_at, target_at, height, self.widths)


def one_a_line(rows: np.ndarray, sources: np.ndarray, targets: np.ndarray, height: int) -> Layout:
  """Each example on a line of its own.  sources, targets: lengths of all examples of the split."""
  zeros = np.zeros(len(rows), np.int64)
  widths = int(sources[rows].max()), int(targets[rows].max())
  return Layout(rows, np.arange(len(rows)), zeros + 1, zeros, zeros, height, widths)


def packed(rows: np.ndarray, sources: np.ndarray, targets: np.ndarray, height: int) -> Layout:
  """All examples on `height` lines, as even in length and in number as may be.

  They are dealt out in rounds, longest first: each round gives every line one more, the longest of
  the round to the line that is shortest so far.
  """
  weights = sources[rows] + targets[rows]
  falling, lines = np.argsort(-weights, kind='stable'), np.empty(len(rows), np.int64)
  loads = np.zeros(height, np.int64)
  for start in range(0, len(rows), height):
    mine = falling[start : start + height]
    lines[mine] = np.argsort(loads, kind='stable')[: len(mine)]
    loads[lines[mine]] += weights[mine]
  by_line = np.argsort(lines, kind='stable')
  rows, lines = rows[by_line], lines[by_line]
  first = np.searchsorted(lines, lines)  # where each example's line begins
  source_at, target_at = (_starts(lengths[rows], first) for lengths in (sources, targets))
  widths = int((source_at + sources[rows]).max()), int((target_at + targets[rows]).max())
  segments = np.arange(len(rows)) - first + 1
  return Layout(rows, lines, segments, source_at, target_at, height, widths)


def _starts(lengths: np.ndarray, first: np.ndarray) -> np.ndarray:
  before = np.cumsum(lengths) - lengths
  return before - before[first]


def table(texts: Ragged, layout: Layout, at: np.ndarray, width: int, fill: int) -> np.ndarray:
  """A new table of the texts in their places, `fill` elsewhere: int32 [height, width]."""
  # Always a new array: on a CPU, JAX may go on reading the memory of a batch after the hand-over.
  out = np.full(layout.height * width, fill, np.int32)
  here, there = _places(texts, layout, at, width)
  out[there] = texts.ids[here]
  return out.reshape(layout.height, width)


def segment_table(texts: Ragged, layout: Layout, at: np.ndarray, width: int) -> np.ndarray:
  """The number of each id's segment, 0 where there is no id: int32 [height, width]."""
  out = np.zeros(layout.height * width, np.int32)
  _, there = _places(texts, layout, at, width)
  out[there] = np.repeat(layout.segments, texts.lengths[layout.rows])
  return out.reshape(layout.height, width)


def _places(
  texts: Ragged, layout: Layout, at: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
  """Where each id is taken from, and where in the flat table it goes."""
  lengths = texts.lengths[layout.rows]
  if len(lengths) and (at + lengths).max() > width:
    raise ValueError(f'texts that end at {(at + lengths).max()} do not fit into {width}')
  count = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
  here = np.repeat(texts.offsets[:-1][layout.rows], lengths) + count
  return here, np.repeat(layout.lines * width + at, lengths) + count
