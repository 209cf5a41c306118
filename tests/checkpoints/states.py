"""States to save, and folders of checkpoints of them."""

import jax
import jax.numpy as jnp
import numpy as np

from compacter_jax.checkpoints import Checkpoints
from compacter_jax.method import Tuned
from compacter_jax.train import State

IDENTITY = {'config': 'c0ffee', 'data': 'da7a', 'rate': 3e-3, 'seed': 0}

BITS = np.array(
  # NaNs with a payload, one of them signalling; -0.0; the smallest denormal; infinity.
  [0x7FC12345, 0xFFC00001, 0x7F800001, 0x80000000, 0x00000001, 0x807FFFFF, 0x7F800000],
  np.uint32,
)


def state(step=7):
  """All that is hard to keep: other steps differ in every array that can."""
  halves = np.array([0x7FC1, 0x8000, 0x0001, 0xFF80], np.uint16).view(jnp.bfloat16)
  drawn = np.random.default_rng(step).integers(0, 2**32, (8, 16), np.uint32)
  tuned = Tuned(
    weights={
      'a/b': jnp.asarray(BITS.view(np.float32)),
      'a.b': jnp.asarray(drawn.view(np.float32)),
      'a': jnp.full(3, -0.0),
      'zeros': jnp.zeros((4, 4)),
    }
  )
  counters = {'n': jnp.int32(-(2**31)), 'none': jnp.zeros((0, 4), jnp.int32), 'empty': {}}
  opt = (counters, [jnp.asarray(halves)], (), None)
  return State(tuned, opt, jnp.int32(step), jnp.uint32(2**32 - 1))


def bits(tree):
  return [(leaf.dtype, leaf.shape, np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(tree)]


def opened(folder, identity=IDENTITY, **options):
  return Checkpoints(folder, identity, **{'say': lambda text: None, **options})


def save(folder, scores, **options):
  """A folder with these steps, a mapping to their scores; saved one after the other."""
  with opened(folder, **options).claim() as checkpoints:
    checkpoints.restore(state())
    for step, score in scores.items():
      checkpoints.save(step, state(step), {'at': step}, score)
  return folder


def restored(folder, best=False, **options):
  with opened(folder, **options).claim() as checkpoints:
    return checkpoints.restore(jax.eval_shape(state), best)


def names(folder):
  """What is in a folder except the lock."""
  return {path.name for path in folder.iterdir()} - {'.lock'}
