"""The layers of T5's encoder and decoder, and how they are run one after the other.

A stack holds its layers' weights stacked and scans over them. Frozen weights are looked up layer
by layer where they lie; weights that are trained are scanned over, so that their gradients come out
stacked. Nothing is copied, whichever layers a method leaves out.
Shapes: B batch, Q queries, T keys, S source length, D d_model, H heads, K head size, L layers.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util
from jax import Array

from compacter_jax import inits, narrow
from compacter_jax.graft import Graft, Hook
from compacter_jax.partition import over_rows
from compacter_jax.t5.attention import Attention, position_bias, relative_buckets
from compacter_jax.t5.config import Config
from compacter_jax.t5.dropout import Dropout
from compacter_jax.t5.layers import Ffn, Norm
from compacter_jax.t5.mode import Mode

Cache = tuple[Array, Array]  # keys and values, each [L,B,H,T,K]


class Block(nn.Module):
  """One layer of a stack."""

  cfg: Config
  mode: Mode
  cross: bool

  def setup(self):
    cfg, dtype, training = self.cfg, jnp.dtype(self.mode.dtype), self.mode.training
    norm = lambda: Norm(cfg.norm_epsilon, dtype)
    self.self_attention_norm = norm()
    self.self_attention = Attention(cfg, dtype, training)
    if self.cross:
      self.cross_attention_norm = norm()
      self.cross_attention = Attention(cfg, dtype, training)
    self.ffn_norm = norm()
    self.ffn = Ffn(cfg, dtype, training)
    self.dropout = Dropout(cfg.dropout, training)
    if not cfg.shared_bias:
      table = cfg.relative_buckets, cfg.heads
      self.relative_bias = self.param('relative_bias', inits.normal(cfg.d_model**-0.5), table)

  def __call__(self, x: Array, hook: Hook, place: 'Place', past: 'Past | None' = None):
    """x: [B,T,D] -> [B,T,D], and the keys and values of its own positions, each [B,H,T,K].

    past: when decoding, what this layer remembers of earlier positions and of the source.
    """
    x = over_rows(x)
    h = self.self_attention_norm(x, hook)
    mine = k, v = self.self_attention.keys_values(h, hook)
    if past is not None:
      at = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, past.position, 2)
      k, v = at(past.keys, k), at(past.values, v)
    x += self.dropout(self.self_attention(h, k, v, [self._bias(place), place.mask], hook))
    if self.cross:
      h = self.cross_attention_norm(x, hook)
      mask = [place.memory_mask]
      if past is None:
        y = self.cross_attention.across(h, place.memory, mask, hook)
      else:
        y = self.cross_attention(h, *past.memory, mask, hook)
      x += self.dropout(y)
    x += self.dropout(self.ffn(self.ffn_norm(x, hook), hook))
    return x, mine

  def _bias(self, place: 'Place') -> Array:
    own = place.bias is None
    return position_bias(self.relative_bias, place.buckets) if own else place.bias

  def remember(self, memory: Array, hook: Hook) -> tuple[Array, Array]:
    """Keys and values of the encoder's output.  memory: [B,S,D] -> each [B,H,S,K]."""
    return self.cross_attention.keys_values(memory, hook)


@dataclasses.dataclass(frozen=True)
class Place:
  """What all layers of a stack share: where the queries and keys stand and who sees whom.

  Attributes:
    bias: the stack's position bias [1,H,Q,T]; None where each layer has its own table.
    buckets: [Q,T], for those layers.
    mask: broadcasts to [B,H,Q,T]; 0 or hugely negative.
    memory: the encoder's output [B,S,D]; None in the encoder. memory_mask: [B,1,1,S].
  """

  bias: Any
  buckets: Array
  mask: Array
  memory: Any = None
  memory_mask: Any = None


@dataclasses.dataclass(frozen=True)
class Past:
  """What one layer remembers while decoding: keys and values [B,H,T,K], memory two [B,H,S,K]."""

  position: Array
  keys: Array
  values: Array
  memory: tuple[Array, Array]


class Stack(nn.Module):
  """The encoder or the decoder: layers scanned, then a norm."""

  cfg: Config
  mode: Mode
  cross: bool

  def setup(self):
    cfg = self.cfg
    depth = cfg.decoder_layers if self.cross else cfg.encoder_layers
    self.layers = self.param('layers', lambda key: _stacked(self.block, cfg, depth, key))
    if cfg.shared_bias:
      table = cfg.relative_buckets, cfg.heads
      self.relative_bias = self.param('relative_bias', inits.normal(cfg.d_model**-0.5), table)
    self.norm = Norm(cfg.norm_epsilon, jnp.dtype(self.mode.dtype))
    self.dropout = Dropout(cfg.dropout, self.mode.training)

  @property
  def block(self) -> Block:
    """One layer without weights; `scan` gives it each layer's in turn."""
    return Block(self.cfg, self.mode, self.cross, parent=None)

  def __call__(self, x: Array, graft: Graft, live: Collection[str], **place: Array) -> Array:
    """x: [B,T,D] -> [B,T,D].  live: paths of weights that are trained; place: see `Place`."""
    here = self.place(self.buckets(x.shape[1]), **place)

    def layer(block, x, hook, _):
      return block(x, hook, here)[0], None

    x, _ = self.scan(layer, self.dropout(x), graft, live)
    return self.finish(x, graft)

  def place(self, buckets: Array, **place: Array) -> Place:
    """A Place with the stack's own position bias filled in.  buckets: [Q,T]."""
    bias = position_bias(self.relative_bias, buckets) if self.cfg.shared_bias else None
    return Place(bias, buckets, **place)

  def buckets(self, length: int) -> Array:
    """The relative position buckets among `length` positions, [T,T]; a constant."""
    positions = np.arange(length, dtype=np.int32)
    relative = positions[None, :] - positions[:, None]
    sizes = self.cfg.relative_buckets, self.cfg.relative_max_distance
    return jnp.asarray(relative_buckets(relative, not self.cross, *sizes))

  def finish(self, x: Array, graft: Graft) -> Array:
    """The final norm and dropout.  x: [B,T,D] -> [B,T,D]."""
    return self.dropout(self.norm(x, graft.outer_hook()))

  def scan(
    self,
    layer: Callable[[Any, Any, Hook, Array], tuple[Any, Any]],
    carry: Any,
    graft: Graft,
    live: Collection[str] = (),
  ) -> tuple[Any, Any]:
    """Runs `layer(block, carry, hook, index)` on each layer; outputs stacked by layer.

    Layers that differ in which sites are edited are scanned apart.
    """
    name = str(self.name)
    weights: dict[str, Any] = dict(traverse_util.flatten_dict(self.layers, sep='/'))
    trained = {k: w for k, w in weights.items() if f'{name}/layers/{k}' in live}
    key = self.make_rng('dropout') if self.mode.training else None

    def body(carry, xs):
      index, mine, arrays = xs
      mine = mine | {k: _lookup(w, index) for k, w in weights.items() if k not in mine}
      own = None if key is None else jax.random.fold_in(key, index)
      rngs = {} if own is None else {'dropout': own}
      params = {'params': traverse_util.unflatten_dict(mine, sep='/')}
      return layer(self.block.bind(params, rngs=rngs), carry, graft.hook(arrays, own), index)

    depth = len(next(iter(weights.values())))
    body = _remat(body, self.mode.remat)
    outputs = []
    for start, stop in graft.segments(name, depth):
      cut = trained if stop - start == depth else {k: w[start:stop] for k, w in trained.items()}
      mine = cut | graft.weights(name, start, stop)
      xs = jnp.arange(start, stop), mine, graft.layers(name, start, stop)
      carry, out = jax.lax.scan(body, carry, xs, unroll=min(self.mode.unroll, stop - start))
      outputs.append(out)
    if len(outputs) == 1:
      return carry, outputs[0]
    return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts), *outputs)


def _stacked(block: Block, cfg: Config, depth: int, key: Array) -> Any:
  """The weights of `depth` blocks, stacked."""
  x = jnp.zeros((1, 1, cfg.d_model), jnp.dtype(block.mode.dtype))
  place = Place(None, jnp.zeros((1, 1), int), jnp.zeros(()), x, jnp.zeros(()))
  plain = Graft().outer_hook()
  if cfg.shared_bias:
    place = dataclasses.replace(place, bias=jnp.zeros(()))

  def make(key):
    return block.init({'params': key, 'dropout': key}, x, plain, place)['params']

  return jax.vmap(make)(jax.random.split(key, depth))


def _lookup(stacked: Array, index: Array) -> Array:
  return jax.lax.dynamic_index_in_dim(stacked, index, keepdims=False)


# Products, random numbers, and what takes longer to compute than to read. The rest, elementwise, is
# computed again in the backward pass: a quarter less memory, and no slower.
_STORED = frozenset(
  (
    *('dot_general', 'threefry2x32', 'random_bits'),
    *('exp', 'tanh', 'logistic', 'erf', 'rsqrt'),
    *('reduce_sum', 'reduce_max', 'ge', 'gt'),
  )
)


def _remat(body: Callable, remat: str) -> Callable:
  """What the backward pass may find stored.

  Never a layer's frozen weights: they lie in the stack already, and storing what was looked up
  there, or a cast of it, would copy the whole stack once more.
  """
  if remat == 'full':
    return jax.checkpoint(body, prevent_cse=False)
  dots = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
  policies = {
    'none': (lambda prim, *_, **__: prim.name in _STORED, (narrow.PRODUCT, narrow.BATCHED)),
    'dots': (dots, (narrow.PRODUCT,)),
  }
  policy, names = policies[remat]

  def stored(prim, *operands, **params):
    if prim.name == 'name':
      return params['name'] in names
    # A product that is about to be rounded is stored once it is.
    wider = prim.name == 'dot_general' and params['preferred_element_type'] == jnp.float32
    if wider and operands[0].dtype != jnp.float32:
      return False
    return policy(prim, *operands, **params)

  return jax.checkpoint(body, prevent_cse=False, policy=stored)
