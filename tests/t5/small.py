"""A small T5 whose sizes all differ, its rows and methods, for tests of the network."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from compacter_jax.chaining import chain
from compacter_jax.method import is_spec
from compacter_jax.methods.adapter import Adapter
from compacter_jax.methods.compacter import Compacter
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import shift_right
from compacter_jax.t5.config import Config

# Every size different from every other, so that a shape says whose it is.
CFG = Config(
  vocab=38,
  d_model=12,
  d_kv=5,
  d_ff=22,
  heads=3,
  encoder_layers=4,
  decoder_layers=2,
  activation='gelu_new',
  gated=True,
  tied_head=False,
  dropout=0.25,
)
NORMS_AND_ADAPTERS = chain(
  norms=Unfreeze('.*norm/scale'), adapters=Adapter(width=9, encoder_layers=(2, 3))
)
# One segment, so that it compiles soon.
FEW = chain(norms=Unfreeze('.*ffn_norm/scale'), adapters=Adapter(width=9, where='.*/layers/ffn'))
NORMS_AND_COMPACTER = chain(norms=Unfreeze('.*norm/scale'), adapters=Compacter(n=4, width=8))


def make_batch(cfg, lengths=((7, 4), (6, 3))):
  rng = np.random.default_rng(0)
  out = {}
  for name, each in zip(('source', 'target'), lengths, strict=True):
    ids = rng.integers(2, cfg.vocab, (len(each), max(each)), dtype=np.int32)
    ids[np.arange(max(each)) >= np.array(each)[:, None]] = cfg.pad_id
    out[name] = jnp.asarray(ids)
  return out


def decoder_input(batch, cfg=CFG):
  return shift_right(batch['target'], cfg)


def lively(model, frozen):
  """Tuned arrays that do something: as they are made, adapters are nearly the identity."""
  rng = np.random.default_rng(1)

  def leaf(path, spec):
    start = 1.0 if 'norms' in jax.tree_util.keystr(path) else 0.0
    return jnp.asarray(start + 0.3 * rng.standard_normal(spec.shape, np.float32), jnp.float32)

  return jax.tree_util.tree_map_with_path(leaf, model.specs(frozen), is_leaf=is_spec)


def primitives(jaxpr):
  """All equations, those of programs within the program included."""
  for eqn in jaxpr.eqns:
    yield eqn
    for inner in jaxprs_in_params(eqn.params):
      yield from primitives(inner)
