"""A T5 and a method, joined: pure functions of what is tuned and what is frozen.

Shapes: B batch, S source length, T target length, V vocabulary.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from jax import Array

from compacter_jax import method as method_lib
from compacter_jax.errors import ConfigError
from compacter_jax.graft import Graft, graft
from compacter_jax.method import Method, Tuned
from compacter_jax.t5 import decode
from compacter_jax.t5.config import Config, shapes
from compacter_jax.t5.mode import Mode
from compacter_jax.t5.network import T5, Segments
from compacter_jax.t5.sites import sites
from compacter_jax.weights import Flat

# 'source': [B,S] and 'target': [B,T] ids, padded with pad_id, targets also with negative numbers as
# Hugging Face's labels are (-100); where several examples share a row, 'source_segments' and
# 'target_segments' too.
Batch = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Model:
  """A T5 with a method grafted on; hashable, it owns no arrays.

  Attributes:
    cfg: the shape of T5.
    method: what is tuned; the default tunes nothing.
    dtype: of activations, 'float32' or 'bfloat16'.
    remat: what the backward pass computes again, 'none', 'dots' or 'full'.
    unroll: layers per turn of the loop over layers; see `Mode`.
  """

  cfg: Config
  method: Method = Method()
  dtype: str = 'float32'
  remat: str = 'none'
  unroll: int = 1

  def __post_init__(self):
    Mode(self.dtype, self.remat, self.unroll)  # raises a ConfigError at once
    if not isinstance(self.method, Method):
      raise ConfigError(
        'A model needs a method.',
        where='method',
        expected="a Method, as methods.load('lora') makes one",
        got=repr(self.method)[:200],
      )

  def specs(self, frozen: Mapping[str, Any] | None = None) -> Tuned:
    """Declares everything that is trained; without `frozen`, from the shapes of its weights."""
    return self.method.specs(sites(self.cfg), abstract(self.cfg) if frozen is None else frozen)

  def count(self) -> int:
    """How many numbers are trained; no array is made."""
    return method_lib.count(self.specs())

  def init(self, key: Array, frozen: Flat) -> Tuned:
    """Makes everything that is trained, and nothing else; frozen: all of T5's weights."""
    return method_lib.init(self.specs(frozen), key)

  def trim(self, frozen: Flat) -> Flat:
    """The frozen weights that are still read once others are tuned in their place."""
    gone = set(self.method.superseded(frozen))
    return {path: weight for path, weight in frozen.items() if path not in gone}

  def check_packing(self) -> None:
    """Raises ConfigError where examples cannot share a row."""
    if jax.tree.leaves(self.specs().prompt):
      raise ConfigError(
        'A prompt in front of each source cannot be packed.',
        where='batching',
        expected='padded or bucketed',
        got='packed: all examples of a row would share one prompt',
      )

  def logits(
    self,
    tuned: Tuned,
    frozen: Flat,
    source: Array,
    target: Array,
    key=None,
    segments: Segments | None = None,
  ) -> Array:
    """Teacher-forced logits.  source: [B,S], target: [B,T] the decoder's input -> [B,T,V].

    key: draws the dropout; None turns it off. segments: where several examples share a row.
    """
    if segments is not None:
      self.check_packing()
    t5 = T5(self.cfg, Mode(self.dtype, self.remat, self.unroll, key is not None))
    params, grafted, live = self._join(tuned, frozen)
    rngs = None if key is None else {'dropout': key}
    apply: Any = t5.apply
    return apply({'params': params}, source, target, grafted, live, segments, rngs=rngs)

  def loss_sum(self, tuned: Tuned, frozen: Flat, batch: Batch, key=None) -> tuple[Array, Array]:
    """The cross entropy summed over the batch's label tokens, and how many those are.

    key: draws the dropout; None turns it off, as in an evaluation.
    """
    segments, target = None, jnp.where(batch['target'] < 0, self.cfg.pad_id, batch['target'])
    if 'source_segments' in batch:
      segments = Segments(batch['source_segments'], batch['target_segments'])
    fed = shift_right(target, self.cfg, segments)
    logits = self.logits(tuned, frozen, batch['source'], fed, key, segments)
    counts = target != self.cfg.pad_id
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    return jnp.sum(jnp.where(counts, losses, 0.0)), jnp.sum(counts)

  def loss(self, tuned: Tuned, frozen: Flat, batch: Batch, key=None) -> Array:
    """Cross entropy, the mean over the batch's label tokens.  key: see `loss_sum`."""
    total, tokens = self.loss_sum(tuned, frozen, batch, key)
    return total / jnp.maximum(tokens, 1).astype(total.dtype)

  def generate(self, tuned: Tuned, frozen: Flat, source: Array, steps: int) -> Array:
    """Greedy decoding.  source: [B,S] -> [B,steps] ids, padded after the end token."""
    params, grafted, _ = self._join(tuned, frozen)
    return decode.greedy(T5(self.cfg, Mode(self.dtype)), params, grafted, source, steps)

  def fold(self, frozen: Flat, tuned: Tuned) -> Flat:
    """Plain T5 weights that compute the same.  Raises TypeError, with the reason, if none do."""
    return self.method.fold(frozen, tuned)

  def _join(self, tuned: Tuned, frozen: Flat) -> tuple[dict, Graft, frozenset[str]]:
    grafted = graft(self.method, tuned, sites(self.cfg))
    weights = self.method.weights(frozen, grafted.tuned.weights)
    runs = {path: w for path, w in weights.items() if '[' in path}
    whole = {path: w for path, w in weights.items() if path not in runs}
    live = frozenset(path for path, w in whole.items() if w is not frozen.get(path))
    grafted = Graft(self.method, grafted.tuned, runs)
    return traverse_util.unflatten_dict(whole, sep='/'), grafted, live

  def __str__(self) -> str:
    """A table of what is trained, group by group."""
    specs, total = self.specs(), math.fsum(math.prod(s) for s in shapes(self.cfg).values())
    rows = []
    for path, spec in jax.tree_util.tree_leaves_with_path(specs, is_leaf=method_lib.is_spec):
      name = '/'.join(str(getattr(k, 'name', getattr(k, 'key', k))) for k in path)
      rows.append((name, str(spec.shape), f'{math.prod(spec.shape):,}'))
    count = method_lib.count(specs)
    rows.append(('total', f'{100 * count / total:.4f} % of {int(total):,}', f'{count:,}'))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    line = lambda row: f'{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]:>{widths[2]}}'
    return '\n'.join(map(line, rows))


def shift_right(target: Array, cfg: Config, segments: Segments | None = None) -> Array:
  """The decoder's input for labels [B,T]: the start token, then all labels but the last.

  segments: each begins anew.
  """
  start = jnp.full((len(target), 1), cfg.decoder_start_id, target.dtype)
  fed = jnp.concatenate([start, target[:, :-1]], 1)
  if segments is None:
    return fed
  before = jnp.pad(segments.target, ((0, 0), (1, 0)))[:, :-1]
  return jnp.where(segments.target == before, fed, start)


def abstract(cfg: Config) -> dict[str, jax.ShapeDtypeStruct]:
  """T5's weights by path as shapes, none made."""
  return {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes(cfg).items()}
