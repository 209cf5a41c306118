"""T5 (Raffel et al. 2020): embedding, encoder, decoder and head, each module reporting to a hook.

Shapes: B batch, S source length, T target length, D d_model, V vocabulary.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util
from jax import Array

from compacter_jax import inits
from compacter_jax.graft import Graft
from compacter_jax.narrow import product
from compacter_jax.partition import for_lookup, over_rows
from compacter_jax.t5.attention import mask_bias
from compacter_jax.t5.config import Config
from compacter_jax.t5.layers import Dense
from compacter_jax.t5.mode import Mode
from compacter_jax.t5.stack import Stack


class Segments(NamedTuple):
  """Which example of its row each id is of, from 1; 0 is padding.  source: [B,S], target: [B,T]."""

  source: Array
  target: Array


def same_segment(queries: Array, keys: Array) -> Array:
  """Who sees whom.  queries: [B,Q] segments, keys: [B,T] -> [B,Q,T] bool."""
  return (queries[:, :, None] == keys[:, None]) & (keys[:, None] > 0)


class T5(nn.Module):
  """The whole network."""

  cfg: Config
  mode: Mode = Mode()

  def setup(self):
    cfg = self.cfg
    self.token_embedding = self.param(
      'token_embedding', inits.normal(1.0), (cfg.vocab, cfg.d_model)
    )
    self.encoder = Stack(cfg, self.mode, cross=False)
    self.decoder = Stack(cfg, self.mode, cross=True)
    if not cfg.tied_head:
      dtype = jnp.dtype(self.mode.dtype)
      sizes = cfg.d_model, cfg.vocab, cfg.d_model**-0.5
      self.lm_head = Dense(*sizes, dtype, jnp.dtype(jnp.float32))

  def __call__(
    self,
    source: Array,
    target: Array,
    graft: Graft = Graft(),
    live: Collection[str] = (),
    segments: Segments | None = None,
  ) -> Array:
    """Teacher-forced logits.  source: [B,S] ids, target: [B,T] ids to the right -> [B,T,V] float32.

    target: the decoder's input, that is the labels shifted right by one.
    live: paths of weights that are trained (all others are looked up in place).
    segments: where several examples stand in a row.
    """
    visible = jnp.tri(target.shape[1], dtype=bool)[None]
    memory, mask = self.encode(source, graft, live, segments)
    if segments is not None:
      mine, theirs = segments.target, segments.source
      visible = visible & same_segment(mine, mine)
      memory_mask = mask_bias(same_segment(mine, theirs)[:, None])
    else:
      memory_mask = mask_bias(mask[:, None, None])
    y = self.decoder(
      self.embed(target),
      graft,
      live,
      mask=mask_bias(visible)[:, None],
      memory=memory,
      memory_mask=memory_mask,
    )
    return self.head(y, graft)

  def embed(self, ids: Array) -> Array:
    """ids: [B,T] -> [B,T,D]."""
    table = for_lookup(self.token_embedding)
    return over_rows(table[ids].astype(jnp.dtype(self.mode.dtype)))

  def encode(
    self,
    source: Array,
    graft: Graft,
    live: Collection[str] = (),
    segments: Segments | None = None,
  ):
    """source: [B,S] ids -> the encoder's output [B,S',D] and its mask [B,S'].

    S' is S plus whatever the method prepends; where there are segments it may prepend nothing.
    """
    x, mask = graft.prompt(self.embed(source), source != self.cfg.pad_id)
    visible = mask[:, None]
    if segments is not None:
      visible = same_segment(segments.source, segments.source)
    return self.encoder(x, graft, live, mask=mask_bias(visible[:, None])), mask

  def head(self, y: Array, graft: Graft) -> Array:
    """y: [B,T,D] -> logits [B,T,V] in float32."""
    hook = graft.outer_hook(self.make_rng('dropout') if self.mode.training else None)
    if not self.cfg.tied_head:
      return self.lm_head(y, hook)
    # A tied head was trained with its input scaled down.
    scaled = y * self.cfg.d_model**-0.5
    # A method may move the embedding and leave the head where it was.
    table = self.get_variable('params', 'head_table', self.token_embedding).astype(y.dtype)
    logits = product('btd,vd->btv', scaled, table, jnp.float32)
    return hook('lm_head', scaled, logits, lambda: table.T)


def random_weights(cfg: Config, key: Array, lies: Any = None) -> dict[str, Array]:
  """T5's weights freshly drawn, as T5 draws them before pretraining.

  lies: a sharding for each path, where they are made; by default the first device.
  """
  ids = jnp.zeros((1, 1), jnp.int32)

  def draw(key):
    flat: Any = traverse_util.flatten_dict(T5(cfg).init(key, ids, ids)['params'], sep='/')
    return dict(flat)

  return jax.jit(draw, out_shardings=lies)(key)
