"""T5 (Raffel et al. 2020): blocks, stacks and the whole, each module reporting to a hook.

A stack holds its layers' weights stacked and scans over them. Frozen weights are looked up layer
by layer where they lie; weights that are trained are scanned over, so that their gradients come out
stacked. Nothing is copied, whichever layers a method leaves out.
Shapes: B batch, S source length, T target length, D d_model, H heads, K head size, V vocabulary.
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

from compacter_jax import inits
from compacter_jax.errors import ConfigError
from compacter_jax.graft import Graft, Hook
from compacter_jax.method import Site
from compacter_jax.t5.attention import Attention, mask_bias, position_bias, relative_buckets
from compacter_jax.t5.config import Config
from compacter_jax.t5.layers import Dense, Dropout, Ffn, Norm

Cache = tuple[Array, Array]  # keys and values, each [L,B,T,H,K]


def sites(cfg: Config) -> dict[str, Site]:
  """Every place that a method may edit, by path: the modules of T5 that call their hook."""
  d, ff, inner = cfg.d_model, cfg.d_ff, cfg.heads * cfg.d_kv
  out = [Site(f'{stack}/norm', d, d, None) for stack in ('encoder', 'decoder')]
  out.append(Site('lm_head', d, cfg.vocab, None))
  wi = ('wi_0', 'wi_1') if cfg.gated else ('wi',)
  for stack, depth in ('encoder', cfg.encoder_layers), ('decoder', cfg.decoder_layers):
    attentions = ('self_attention', 'cross_attention')[: 1 + (stack == 'decoder')]
    places = [('ffn', d, d), ('ffn/wo', ff, d), ('ffn_norm', d, d)]
    places += [(f'ffn/{name}', d, ff) for name in wi]
    for name in attentions:
      places += [(name, d, d), (f'{name}/o', inner, d), (f'{name}_norm', d, d)]
      places += [(f'{name}/{part}', d, inner) for part in 'qkv']
    out += [Site(f'{stack}/layers/{name}', i, o, depth) for name, i, o in places]
  return {site.path: site for site in out}


@dataclasses.dataclass(frozen=True)
class Mode:
  """How T5 is run: whatever changes the program, but not the function it approximates.

  Attributes:
    dtype: of activations and products; weights are cast to it. float32 or bfloat16.
    remat: what the backward pass computes again: 'none', 'dots' (all but products of weights) or
      'full' (whole layers).
    training: whether dropout acts.
  """

  dtype: str = 'float32'
  remat: str = 'none'
  training: bool = False

  def __post_init__(self):
    if self.dtype == 'float16':
      raise ConfigError(
        'T5 does not run in float16.',
        where='dtype',
        expected='float32 or bfloat16',
        got='float16',
        fix='use bfloat16: activations of T5 exceed 65,504, the largest float16',
      )
    for field, choices in ('dtype', ('float32', 'bfloat16')), ('remat', ('none', 'dots', 'full')):
      if getattr(self, field) not in choices:
        raise ConfigError(
          f'Unknown {field}.',
          where=field,
          expected=f'one of {choices}',
          got=repr(getattr(self, field)),
        )


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
    """x: [B,T,D] -> [B,T,D], and the keys and values of its own positions, each [B,T,H,K].

    past: when decoding, what this layer remembers of earlier positions and of the source.
    """
    h = self.self_attention_norm(x, hook)
    mine = k, v = self.self_attention.keys_values(h, hook)
    if past is not None:
      at = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, past.position, 1)
      k, v = at(past.keys, k), at(past.values, v)
    bias = place.bias
    if bias is None:
      bias = position_bias(self.relative_bias, place.buckets)
    x += self.dropout(self.self_attention(h, k, v, [bias, place.mask], hook))
    if self.cross:
      h = self.cross_attention_norm(x, hook)
      memory = self.remember(place.memory, hook) if past is None else past.memory
      x += self.dropout(self.cross_attention(h, *memory, [place.memory_mask], hook))
    x += self.dropout(self.ffn(self.ffn_norm(x, hook), hook))
    return x, mine

  def remember(self, memory: Array, hook: Hook) -> tuple[Array, Array]:
    """Keys and values of the encoder's output.  memory: [B,S,D] -> each [B,S,H,K]."""
    return self.cross_attention.keys_values(memory, hook)


@dataclasses.dataclass(frozen=True)
class Place:
  """What all layers of a stack share: where the queries and keys stand and who sees whom.

  Attributes:
    bias: the stack's position bias [1,H,Q,T]; None where each layer has its own table.
    buckets: [Q,T], for those layers.
    mask: broadcasts to [B,H,Q,T]; 0 or hugely negative.
    memory: the encoder's output [B,S,D]. memory_mask: [B,1,1,S].
  """

  bias: Array | None
  buckets: Array
  mask: Array
  memory: Array | None = None
  memory_mask: Array | None = None


@dataclasses.dataclass(frozen=True)
class Past:
  """What one layer remembers while decoding: keys and values [B,T,H,K], memory two [B,S,H,K]."""

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
    name = self.name
    weights = traverse_util.flatten_dict(self.layers, sep='/')
    trained = {k: w for k, w in weights.items() if f'{name}/layers/{k}' in live}
    still = {k: w for k, w in weights.items() if k not in trained}
    key = self.make_rng('dropout') if self.mode.training else None

    def body(carry, xs):
      index, mine, arrays = xs
      mine = mine | {k: _lookup(w, index) for k, w in still.items()}
      rngs = {} if key is None else {'dropout': jax.random.fold_in(key, index)}
      params = {'params': traverse_util.unflatten_dict(mine, sep='/')}
      return layer(self.block.bind(params, rngs=rngs), carry, graft.hook(arrays), index)

    depth = len(next(iter(weights.values())))
    body = _remat(body, self.mode.remat)
    outputs = []
    for start, stop in graft.segments(name, depth):
      cut = trained if stop - start == depth else {k: w[start:stop] for k, w in trained.items()}
      xs = jnp.arange(start, stop), cut, graft.layers(name, start, stop)
      carry, out = jax.lax.scan(body, carry, xs)
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


def _remat(body: Callable, remat: str) -> Callable:
  """What the backward pass may find stored.

  Never a layer's frozen weights: they lie in the stack already, and storing what was looked up
  there, or a cast of it, would copy the whole stack once more.
  """

  def no_weight(prim: Any, *inputs: Any, **_: Any) -> bool:
    cast = prim.name == 'convert_element_type' and inputs[0].ndim < 3  # activations have three
    return prim.name not in ('dynamic_slice', 'squeeze') and not cast

  policies = {
    'none': no_weight,
    'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    'full': None,
  }
  return jax.checkpoint(body, prevent_cse=False, policy=policies[remat])


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
      self.lm_head = Dense(cfg.vocab, cfg.d_model**-0.5, jnp.dtype(self.mode.dtype))

  def __call__(
    self, source: Array, target: Array, graft: Graft = Graft(), live: Collection[str] = ()
  ) -> Array:
    """Teacher-forced logits.  source: [B,S] ids, target: [B,T] ids to the right -> [B,T,V] float32.

    target: the decoder's input, that is the labels shifted right by one.
    live: paths of weights that are trained (all others are looked up in place).
    """
    memory, mask = self.encode(source, graft, live)
    length = target.shape[1]
    causal = mask_bias(np.tri(length, dtype=bool))[None, None]
    y = self.decoder(
      self.embed(target),
      graft,
      live,
      mask=causal,
      memory=memory,
      memory_mask=mask_bias(mask[:, None, None]),
    )
    return self.head(y, graft)

  def embed(self, ids: Array) -> Array:
    """ids: [B,T] -> [B,T,D]."""
    return self.token_embedding[ids].astype(jnp.dtype(self.mode.dtype))

  def encode(self, source: Array, graft: Graft, live: Collection[str] = ()):
    """source: [B,S] ids -> the encoder's output [B,S',D] and its mask [B,S'].

    S' is S plus whatever the method prepends.
    """
    x, mask = graft.prompt(self.embed(source), source != self.cfg.pad_id)
    return self.encoder(x, graft, live, mask=mask_bias(mask[:, None, None])), mask

  def head(self, y: Array, graft: Graft) -> Array:
    """y: [B,T,D] -> logits [B,T,V] in float32."""
    hook = graft.outer_hook()
    if not self.cfg.tied_head:
      return self.lm_head(y, hook).astype(jnp.float32)
    # A tied head was trained with its input scaled down.
    scaled = y * self.cfg.d_model**-0.5
    table = self.token_embedding.astype(y.dtype)
    logits = jnp.einsum('btd,vd->btv', scaled, table, preferred_element_type=jnp.float32)
    return hook('lm_head', scaled, logits)


def random_weights(cfg: Config, key: Array) -> dict[str, Array]:
  """T5's weights freshly drawn, as T5 draws them before pretraining."""
  ids = jnp.zeros((1, 1), jnp.int32)
  params = jax.jit(T5(cfg).init)(key, ids, ids)['params']
  return dict(traverse_util.flatten_dict(params, sep='/'))
