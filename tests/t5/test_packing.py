"""Examples that share a row do not see each other, in every kind of T5."""

import jax
import jax.numpy as jnp
import numpy as np

from compacter_jax.method import Tuned
from compacter_jax.model import Model, shift_right
from compacter_jax.t5.network import Segments

SOURCES, TARGETS = (5, 3, 7), (2, 4, 1)


def examples(cfg):
  random = np.random.default_rng(0)
  ids = lambda n: random.integers(2, cfg.vocab, (1, n)).astype(np.int32)
  return [(ids(n), ids(m)) for n, m in zip(SOURCES, TARGETS)]


def packed(tables, spare):
  """The ids of all in one row with padding behind, and whose they are."""
  ids = np.concatenate([*tables, np.zeros((1, spare), np.int32)], 1)
  numbers = np.repeat(np.arange(1, len(tables) + 1), [t.shape[1] for t in tables])
  return jnp.asarray(ids), jnp.asarray(np.pad(numbers, (0, spare))[None], jnp.int32)


def test_packed_logits_are_those_of_each_alone(tiny, tiny_weights):
  model = Model(tiny)
  rows = examples(tiny)
  source, mine = packed([s for s, _ in rows], 4)
  target, theirs = packed([t for _, t in rows], 2)
  segments = Segments(mine, theirs)

  def logits(source, target, segments=None):
    fed = shift_right(target, tiny, segments)
    return model.logits(Tuned(), tiny_weights, source, fed, segments=segments)

  got = np.asarray(jax.jit(logits)(source, target, segments))
  for number, (alone, answer) in enumerate(rows, 1):
    want = np.asarray(jax.jit(logits)(jnp.asarray(alone), jnp.asarray(answer)))[0]
    mine = got[0][np.asarray(theirs)[0] == number]
    assert np.abs(mine - want).max() <= 1e-5 * max(np.abs(want).max(), 1)


def test_a_changed_neighbour_changes_nothing(tiny, tiny_weights):
  model, rows = Model(tiny), examples(tiny)
  gradient = jax.jit(jax.grad(lambda w, b: model.loss_sum(Tuned(), w, b)[0]))
  source, mine = packed([s for s, _ in rows], 0)
  target, theirs = packed([t for _, t in rows], 0)

  def of_first(source):
    """The gradient where only the first example has labels that count."""
    only = jnp.where(theirs == 1, target, tiny.pad_id)
    batch = {'source': source, 'target': only, 'source_segments': mine, 'target_segments': theirs}
    return gradient(tiny_weights, batch)

  other = jnp.where(mine == 1, source, (source + 1) % (tiny.vocab - 2) + 2)
  rows_of_first = np.unique(rows[0][0])
  changed = of_first(other)
  for path, a in of_first(source).items():
    b = changed[path]
    if path == 'token_embedding':  # of the ids that the first example reads
      a, b = a[rows_of_first], b[rows_of_first]
    np.testing.assert_allclose(a, b, atol=1e-6 * max(float(jnp.abs(a).max()), 1))
