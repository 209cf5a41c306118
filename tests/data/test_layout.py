import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compacter_jax.data.layout import one_a_line, packed, segment_table, table
from compacter_jax.data.ragged import Ragged
from compacter_jax.data.table_shapes import chosen_shapes, fitting

LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 3)), min_size=1, max_size=20)


def texts(lengths):
  """Text i is a run of the number i + 1."""
  return Ragged.of([[i + 1] * n for i, n in enumerate(lengths)])


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 6), st.integers(0, 5))
def test_packed_every_example_stands_once_in_one_piece(lengths, height, spare):
  sources, targets = (texts(each) for each in zip(*lengths))
  layout = packed(np.arange(len(lengths)), sources.lengths, targets.lengths, height)
  for split, at, width in zip((sources, targets), layout[3:5], layout.widths):
    ids = table(split, layout, at, width + spare, 0)
    segments = segment_table(split, layout, at, width + spare)
    assert ids.dtype == segments.dtype == np.int32
    assert np.array_equal(ids > 0, segments > 0)
    found = {}
    for line in range(height):
      for segment in range(1, segments[line].max() + 1):
        (columns,) = np.nonzero(segments[line] == segment)
        assert np.array_equal(columns, np.arange(columns[0], columns[-1] + 1))
        (example,) = set(ids[line, columns])
        found[example] = len(columns)
    assert found == {i + 1: n for i, n in enumerate(split.lengths)}
  in_lines = np.bincount(layout.lines, minlength=height)
  assert in_lines.max() - in_lines.min() <= 1


def test_packed_lines_are_even():
  rng = np.random.default_rng(0)
  for height in 4, 8, 16:
    lengths = 2 + rng.geometric(0.1, 64)
    layout = packed(np.arange(64), lengths, np.full(64, 2), height)
    assert layout.widths[0] <= 1.2 * lengths.sum() / height and layout.widths[1] == 2 * 64 // height


def test_packed_source_and_target_of_an_example_have_one_number():
  sources, targets = texts([5, 4, 3, 2, 1]), texts([1, 2, 1, 2, 1])
  layout = packed(np.array([4, 2, 0, 1, 3]), sources.lengths, targets.lengths, 2)
  pairs = []
  for split, at, width in zip((sources, targets), layout[3:5], layout.widths):
    ids = table(split, layout, at, width, 0)
    numbers = segment_table(split, layout, at, width)
    lines = np.broadcast_to(np.arange(2)[:, None], ids.shape)
    pairs.append({(i, line, n) for i, line, n in zip(ids.flat, lines.flat, numbers.flat) if i})
  assert pairs[0] == pairs[1] and len(pairs[0]) == 5


@given(LENGTHS, st.integers(0, 3))
def test_one_to_a_line_is_a_plain_table(lengths, more):
  sources, targets = (texts(each) for each in zip(*lengths))
  rows = np.arange(len(lengths))[::-1]
  layout = one_a_line(rows, sources.lengths, targets.lengths, len(rows) + more)
  ids = table(sources, layout, layout.source_at, layout.widths[0], 7)
  assert layout.widths == (sources.lengths.max(), targets.lengths.max())
  for line, row in zip(ids, rows):
    assert line.tolist() == [*sources[row], *[7] * (len(line) - len(sources[row]))]
  assert (ids[len(rows) :] == 7).all() and len(ids) == len(rows) + more


def test_a_text_that_does_not_fit_is_an_error():
  sources = texts([3, 4])
  layout = one_a_line(np.arange(2), sources.lengths, sources.lengths, 2)
  with pytest.raises(ValueError, match='end at 4 do not fit into 3'):
    table(sources, layout, layout.source_at, 3, 0)


def test_parts_of_a_layout_are_its_lines():
  lengths = np.arange(1, 13)
  sources = texts(lengths)
  layout = packed(np.arange(12), lengths, lengths, 4)
  whole = table(sources, layout, layout.source_at, layout.widths[0], 0)
  parts = [layout.part(i, 2) for i in range(2)]
  tables = [table(sources, part, part.source_at, part.widths[0], 0) for part in parts]
  assert np.array_equal(np.concatenate(tables), whole)


NEEDS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 9)), min_size=1, max_size=12)


@settings(deadline=None)
@given(NEEDS, st.integers(1, 4))
def test_the_chosen_shapes_are_the_best_there_are(needs, most):
  shapes = chosen_shapes(needs, most, step=4)
  assert len(shapes) <= most and shapes == sorted(shapes)
  columns = lambda shapes: sum(sum(fitting(need, shapes)) for need in needs)
  assert all(fitting(need, shapes) in shapes for need in needs)
  # Against every choice of edges, the widths of whose targets grow with those of the sources.
  from itertools import combinations

  edges = sorted({-(-s // 4) * 4 for s, _ in needs})
  tall = lambda edge: max(t for s, t in needs if s <= edge)
  rest = [[*c, edges[-1]] for k in range(most) for c in combinations(edges[:-1], k)]
  least = min(_by_source(needs, [(edge, tall(edge)) for edge in choice]) for choice in rest)
  assert _by_source(needs, shapes) == least >= columns(shapes)


def _by_source(needs, shapes):
  return sum(sum(next(shape for shape in shapes if shape[0] >= s)) for s, _ in needs)


def test_what_fits_no_shape_gets_its_own():
  assert fitting((9, 2), [(8, 2), (16, 3)]) == (16, 3)
  assert fitting((8, 3), [(8, 2), (16, 3)]) == (16, 3)
  assert fitting((17, 2), [(8, 2), (16, 3)]) == (32, 16)
