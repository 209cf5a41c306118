"""Training of a tiny T5 on a mesh, for tests that compare meshes."""

import re

import jax
import numpy as np
import optax

from compacter_jax import optim, sharding, t5, train
from compacter_jax.placement import Placement

CFG = t5.Config(
  vocab=64,
  d_model=48,
  d_kv=4,
  d_ff=32,
  heads=8,
  encoder_layers=2,
  decoder_layers=2,
  gated=True,
  activation='gelu_new',
  dropout=0.1,
)
MESHES = {
  '8x1x1': (8, 1, 1),
  '1x8x1': (1, 8, 1),
  '1x1x8': (1, 1, 8),
  '2x2x2': (2, 2, 2),
  '4x1x2': (4, 1, 2),
}
STEPS = 30


def one_device():
  return sharding.make_mesh(1, 1, 1, devices=1)


def batches():
  rng = np.random.default_rng(0)
  while True:
    source = rng.integers(2, 60, (16, 12), dtype=np.int32)
    lengths = rng.integers(3, 13, (16, 1))
    source = np.where(np.arange(12) < lengths, source, 0)
    yield {'source': source, 'target': source[:, :4]}


def trained(model, mesh, frozen, accumulate=1, steps=STEPS):
  """The state after some steps, and the losses on the way."""
  optimizer = optim.build(optim.Optim(rate=1e-3, warmup=2), 40)
  placement, losses = Placement(mesh, model, frozen), []
  with jax.set_mesh(mesh):
    step = train.make_step(model, optimizer, accumulate, lies=placement.lies(optimizer))
    state = placement.state(model.init(jax.random.key(1), frozen), optimizer, 7)
    weights = placement.weights(model.trim(frozen))
    source = batches()
    for _ in range(steps):
      state, metrics = step(state, weights, placement.batch(next(source)))
      losses.append(float(metrics['loss']))
  return state, losses


def assert_same(many, one, rounding=None):
  """Holds what `trained` gave on a mesh to what it gave on one device; the worst differences.

  rounding: pattern of arrays that move no loss. Their gradient is rounding, which Adam turns into
  steps of the whole rate: that they are such is what is held of them.
  """
  (state, losses), (alone, one_losses) = many, one
  np.testing.assert_allclose(losses[0], one_losses[0], rtol=1e-6)
  np.testing.assert_allclose(losses, one_losses, rtol=1e-5)
  paths, worst = jax.tree_util.tree_leaves_with_path(state.tuned), 0.0
  means = jax.tree.leaves(optax.tree_utils.tree_get(state.opt, 'mu'))
  for (path, a), b, mean in zip(paths, jax.tree.leaves(alone.tuned), means, strict=True):
    name = jax.tree_util.keystr(path)
    if rounding and re.search(rounding, name):
      assert np.abs(mean).max() < 1e-7, name
    else:
      np.testing.assert_allclose(a, b, rtol=0, atol=5e-5, err_msg=name)
      worst = max(worst, float(np.abs(np.asarray(a) - np.asarray(b)).max()))
  return abs(losses[0] / one_losses[0] - 1), worst
