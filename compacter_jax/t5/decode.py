"""Generation with a cache: the encoder runs once, the decoder one position at a time.

Shapes: B batch, S source length, T steps, L decoder layers, H heads, K head size, V vocabulary.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from compacter_jax.graft import Graft
from compacter_jax.t5.attention import mask_bias
from compacter_jax.t5.network import T5
from compacter_jax.t5.stack import Cache, Past


def greedy(t5: T5, params: dict, graft: Graft, source: Array, steps: int) -> Array:
  """The most likely next token, `steps` times or until every row has ended.

  source: [B,S] ids -> [B,steps] ids; the end token closes a row, padding follows it.
  """
  cfg = t5.cfg
  apply: Any = functools.partial(t5.apply, {'params': params})
  memory, mask, remembered = apply(source, graft, method=_read)
  memory_mask = mask_bias(mask[:, None, None])

  def unfinished(state):
    position, _, _, _, ended = state
    return (position < steps) & ~jnp.all(ended)

  def advance(state):
    position, last, out, cache, ended = state
    logits, cache = apply(last, position, cache, remembered, memory_mask, graft, method=_step)
    token = jnp.where(ended, cfg.pad_id, jnp.argmax(logits, -1)).astype(jnp.int32)
    out = jax.lax.dynamic_update_slice_in_dim(out, token[:, None], position, 1)
    return position + 1, token, out, cache, ended | (token == cfg.eos_id)

  rows = len(source)
  start = jnp.full((rows,), cfg.decoder_start_id, jnp.int32)
  out = jnp.full((rows, steps), cfg.pad_id, jnp.int32)
  cache = _empty_cache(t5, rows, steps, memory.dtype)
  state = jnp.int32(0), start, out, cache, jnp.zeros((rows,), bool)
  return jax.lax.while_loop(unfinished, advance, state)[2]


def stepwise_logits(t5: T5, params: dict, graft: Graft, source: Array, target: Array) -> Array:
  """Teacher-forced logits by the cached route, for comparison with the plain one.

  source: [B,S], target: [B,T] (the decoder's input) -> [B,T,V].
  """
  apply: Any = functools.partial(t5.apply, {'params': params})
  memory, mask, remembered = apply(source, graft, method=_read)
  memory_mask = mask_bias(mask[:, None, None])

  def advance(cache, xs):
    position, tokens = xs
    logits, cache = apply(tokens, position, cache, remembered, memory_mask, graft, method=_step)
    return cache, logits

  cache = _empty_cache(t5, *target.shape, memory.dtype)
  xs = jnp.arange(target.shape[1]), target.T
  return jax.lax.scan(advance, cache, xs)[1].swapaxes(0, 1)


def _empty_cache(t5: T5, rows: int, steps: int, dtype) -> Cache:
  cfg = t5.cfg
  empty = jnp.zeros((cfg.decoder_layers, rows, cfg.heads, steps, cfg.d_kv), dtype)
  return empty, empty


def _read(t5: T5, source: Array, graft: Graft):
  """Runs the encoder, and the keys and values that every decoder layer makes of its output.

  Returns the encoder's output [B,S,D], its mask [B,S] and two arrays [L,B,H,S,K].
  """
  memory, mask = t5.encode(source, graft)
  layer = lambda block, carry, hook, _: (carry, block.remember(memory, hook))
  _, remembered = t5.decoder.scan(layer, jnp.zeros(()), graft)
  return memory, mask, remembered


def _step(
  t5: T5,
  tokens: Array,
  position: Array,
  cache: Cache,
  remembered: Cache,
  memory_mask: Array,
  graft: Graft,
) -> tuple[Array, Cache]:
  """One position of the decoder.  tokens: [B] ids -> logits [B,V] and the cache, one longer."""
  length = cache[0].shape[3]
  buckets = jax.lax.dynamic_slice_in_dim(t5.decoder.buckets(length), position, 1)
  mask = mask_bias(jnp.arange(length) <= position)
  place = t5.decoder.place(buckets, mask=mask, memory_mask=memory_mask)

  def layer(block, x, hook, index):
    keys, values = cache[0][index], cache[1][index]
    memory = remembered[0][index], remembered[1][index]
    return block(x, hook, place, Past(position, keys, values, memory))

  y, new = t5.decoder.scan(layer, t5.embed(tokens[:, None]), graft)
  put = lambda old, mine: jax.lax.dynamic_update_slice_in_dim(old, mine, position, 3)
  cache = put(cache[0], new[0]), put(cache[1], new[1])
  return t5.head(t5.decoder.finish(y, graft), graft)[:, 0], cache
