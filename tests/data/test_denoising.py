"""Span corruption and prefix language modelling: laws, T5's own figures, recorded batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compacter_jax.data.denoised import Denoised, cut
from compacter_jax.data.denoising import Denoising, noise_mask
from compacter_jax.errors import ConfigError

EOS, TOP, LOWEST = 1, 1_000, 901  # 100 sentinels


def random(seed):
  return np.random.Generator(np.random.Philox(seed))


@st.composite
def tasks(draw):
  """Whatever can be: short chunks, much noise, long spans."""
  chunk = draw(st.integers(2, 80))
  density = draw(st.floats(1 / chunk, 1 - 1 / chunk))
  return Denoising('span_corruption', chunk, density, draw(st.floats(1, 8)))


def runs(mask):
  """The lengths of the runs of True in a row."""
  edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
  return edges[1::2] - edges[::2]


@given(tasks(), st.integers(1, 5), st.integers(0, 9))
def test_noise_has_its_ids_and_its_spans(task, rows, seed):
  mask = noise_mask(rows, task.chunk, task.noise, task.spans, random(seed))
  assert mask.shape == (rows, task.chunk)
  assert (mask.sum(1) == task.noise).all()
  assert {len(runs(row)) for row in mask} == {task.spans}
  assert not mask[:, 0].any() and mask[:, -1].all()


def joined(source, target):
  """The chunk from its two parts, read as a person would."""
  spans, out = {}, []
  for i in target[:-1]:
    if LOWEST <= i <= TOP:
      spans[i] = current = []
    else:
      current.append(i)
  for i in source[:-1]:
    out += spans[i] if LOWEST <= i <= TOP else [i]
  return out


@given(tasks(), st.integers(1, 5), st.integers(0, 9))
def test_source_and_target_make_the_chunk_again(task, rows, seed):
  chunks = np.random.default_rng(seed).integers(2, LOWEST, (rows, task.chunk))
  batch = task.batch(chunks, random(seed), EOS, TOP)
  sentinels = [TOP - i for i in range(task.spans)]
  assert batch['source'].shape == (rows, task.chunk - task.noise + task.spans + 1)
  assert batch['target'].shape == (rows, task.noise + task.spans + 1)
  for chunk, *parts in zip(chunks, batch['source'], batch['target']):
    assert joined(*parts) == chunk.tolist()
    for part in parts:
      assert part[-1] == EOS and part.dtype == np.int32
      assert [i for i in part if LOWEST <= i <= TOP] == sentinels
    assert parts[1][0] == TOP  # the first span of a target has its sentinel in front


@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 9))
def test_prefix_and_rest_make_the_chunk_again(length, rows, seed):
  chunks = np.random.default_rng(seed).integers(2, LOWEST, (rows, length))
  batch = Denoising('prefix_lm', length).batch(chunks, random(seed), EOS, TOP)
  for chunk, source, target in zip(chunks, batch['source'], batch['target']):
    assert source.shape == target.shape == (length,)
    parts = [part[: np.flatnonzero(part)[-1] + 1] for part in (source, target)]
    assert all(part[-1] == EOS and len(part) > 1 and part.all() for part in parts)
    assert [*parts[0][:-1], *parts[1][:-1]] == chunk.tolist()


def test_a_prefix_ends_anywhere_alike():
  chunks = np.full((20_000, 5), 7)
  source = Denoising('prefix_lm', 5).batch(chunks, random(0), EOS, TOP)['source']
  found = np.bincount((source == 7).sum(1), minlength=5)
  # Expected are 5,000 of each; 5 standard deviations are 306.
  assert found[0] == 0 and np.abs(found[1:] - 5_000).max() < 306


@pytest.mark.parametrize(('noise', 'kept'), [(7, 7), (9, 30)])
def test_every_division_into_spans_is_as_likely(noise, kept):
  """Lengths of 3 spans: any of the (noise - 1) choose 2 divisions; the same of what is between."""
  rows = 40_000
  mask = noise_mask(rows, noise + kept, noise, 3, random(1))
  for total, part in ((noise, mask), (kept, ~mask)):
    divisions = np.array([runs(row) for row in part])
    _, counts = np.unique(divisions, axis=0, return_counts=True)
    kinds = (total - 1) * (total - 2) // 2
    assert len(counts) == kinds
    # chi-squared of that many degrees of freedom has this mean and deviation
    chi = ((counts - rows / kinds) ** 2 / (rows / kinds)).sum()
    assert abs(chi - (kinds - 1)) < 5 * np.sqrt(2 * (kinds - 1))


@pytest.mark.parametrize(
  ('chunk', 'source', 'target'),
  # T5's own: 568 ids make 512 and 114. The shipped config's: 150 make 136 and 30.
  [(568, 512, 114), (150, 136, 30)],
)
def test_the_published_lengths(chunk, source, target):
  batch = Denoising(chunk=chunk).batch(np.full((1, chunk), 7), random(0), EOS, TOP)
  assert (batch['source'].shape[1], batch['target'].shape[1]) == (source, target)


def test_the_batches_are_the_same_for_ever():
  # Recorded: a checkpoint's step means this noise, on every machine and in every release.
  draw = Denoised(Denoising(chunk=12, density=0.3, span=2), EOS, TOP)
  chunks = np.arange(10, 46).reshape(3, 12)
  train, dev = next(draw.train(chunks, 2, 42, 5)), draw.dev(chunks)
  found = {'train': train, 'dev': dev}
  told = {k: {n: ids.tolist() for n, ids in batch.items()} for k, batch in found.items()}
  assert told == RECORDED


RECORDED = {
  'train': {
    'source': [
      [34, 35, 36, 37, 1000, 40, 41, 42, 43, 999, 1],
      [22, 23, 24, 25, 26, 1000, 29, 30, 31, 999, 1],
    ],
    'target': [[1000, 38, 39, 999, 44, 45, 1], [1000, 27, 28, 999, 32, 33, 1]],
  },
  'dev': {
    'source': [
      [10, 11, 1000, 14, 15, 16, 17, 18, 19, 999, 1],
      [22, 23, 24, 25, 26, 1000, 29, 30, 31, 999, 1],
      [34, 35, 36, 37, 38, 39, 1000, 43, 44, 999, 1],
    ],
    'target': [
      [1000, 12, 13, 999, 20, 21, 1],
      [1000, 27, 28, 999, 32, 33, 1],
      [1000, 40, 41, 42, 999, 45, 1],
    ],
  },
}


def first_batches(draw, chunks, seed, step, count=3):
  stream = draw.train(chunks, 4, seed, step)
  return [next(stream) for _ in range(count)]


def same(a, b):
  return all(np.array_equal(x[k], y[k]) for x, y in zip(a, b, strict=True) for k in x)


def test_training_starts_at_any_step():
  draw, chunks = (
    Denoised(Denoising(chunk=20, density=0.3, span=2), EOS, TOP),
    np.arange(200).reshape(10, 20) + 2,
  )
  whole = first_batches(draw, chunks, 7, 0, 8)
  assert same(whole[5:], first_batches(draw, chunks, 7, 5))
  assert not same(whole[:3], first_batches(draw, chunks, 8, 0))
  assert not same(whole[:3], first_batches(draw, chunks, 7, 1))


def test_noise_differs_from_epoch_to_epoch():
  draw, chunks = (
    Denoised(Denoising(chunk=20, density=0.3, span=2), EOS, TOP),
    np.arange(20)[None] + 2,
  )
  stream = draw.train(chunks, 1, 0, 0)
  assert len({next(stream)['source'].tobytes() for _ in range(9)}) > 6


def test_the_noise_of_a_step_is_not_the_order_of_an_epoch():
  """Both are keyed by the seed and a number: they must not read the same stream."""
  seen = []

  class Task(Denoising):
    def batch(self, chunks, random, eos, top):
      seen.append(random.random(4).tolist())
      return {'source': chunks, 'target': chunks}

  draw, chunks = Denoised(Task(), EOS, TOP), np.ones((3, 2), int)
  next(draw.train(chunks, 1, 0, 0))
  draw.dev(chunks)
  key = np.array([0, 0], np.uint64)
  seen += [np.random.Generator(np.random.Philox(key=key, counter=c)).random(4).tolist()
           for c in (0, 1 << 64)]  # fmt: skip
  assert len({tuple(row) for row in seen}) == 4


@pytest.mark.parametrize(('size', 'rows'), [(3, 10), (5, 10), (4, 6), (16, 10), (16, 4), (1, 3)])
def test_dev_batches_have_every_row_once(size, rows):
  draw, chunks = (
    Denoised(Denoising(chunk=20, density=0.3, span=2), EOS, TOP),
    np.arange(200).reshape(10, 20) + 2,
  )
  whole = draw.dev(chunks)
  parts = list(cut(whole, size, rows))
  assert {len(part['source']) for part in parts} == {min(size, 10)}
  for name, ids in whole.items():
    laid = np.concatenate([part[name] for part in parts])
    assert np.array_equal(laid[:rows], ids[:rows])
    assert not laid[rows:].any()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'objective': 'span'}, 'span_corruption, prefix_lm'),
    ({'chunk': 1}, 'chunk'),
    ({'density': 0.0}, 'density'),
    ({'density': 1.0}, 'density'),
    ({'span': 0.5}, 'span'),
    ({'chunk': 5}, 'density'),  # 15 % of 5 ids is none
  ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
  with pytest.raises(ConfigError, match=message):
    Denoising(**changes)


@pytest.mark.parametrize('span', [1.0, 1.49, 3.0, 7.3])
def test_more_spans_than_sentinels_are_refused_with_what_works(span):
  with pytest.raises(ConfigError, match='sentinels') as caught:
    Denoising(chunk=20_000, span=span)
  longest = int(caught.value.fix.split('=')[1].split()[0])
  assert Denoising(chunk=longest, span=span).spans == 100
  assert Denoising('prefix_lm', 20_000, span=span).chunk == 20_000  # has no spans
