"""What T5 promises whatever its weights: its sites and weights, who sees whom, dropout, modes."""

import collections
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from compacter_jax.graft import Graft, Hook
from compacter_jax.inits import zeros
from compacter_jax.method import Method, Tuned, is_spec
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import Model, abstract
from compacter_jax.t5 import dropout
from compacter_jax.t5.attention import mask_bias
from compacter_jax.t5.config import Config, shapes
from compacter_jax.t5.dropout import Dropout
from compacter_jax.t5.network import T5, random_weights
from compacter_jax.t5.sites import sites
from tests.conftest import TINY, draw
from tests.t5.small import CFG, decoder_input, lively, make_batch


def nested(frozen):
  return {'params': traverse_util.unflatten_dict(frozen, sep='/')}


# The network and what is said about it.


def test_sites_are_what_the_network_calls(tiny, monkeypatch):
  calls = collections.Counter()
  depths = {}
  within = 'self_attention', 'cross_attention', 'ffn'
  cut, look = Graft.segments, Graft.layers

  def segments(self, stack, depth):
    depths[stack] = depth
    return cut(self, stack, depth)

  def layers(self, stack, start, stop):
    return look(self, stack, start, stop) | {f'{stack}/layers/': {}}

  class Record(Hook):
    def __call__(self, path, x, y, weight=None):
      prefix = next(iter(self.sites), '')
      if not prefix and path.split('/')[0].removesuffix('_norm') in within:
        return y  # Linen makes a layer's weights once more, only to compare their shapes
      depth = depths[prefix.partition('/')[0]] if prefix else None
      calls[prefix + path, x.shape[-1], y.shape[-1], depth] += 1
      return y

    def edits(self, path):
      return True

    def attend(self, path, keys, values):
      return keys, values

  for name, patch in ('segments', segments), ('layers', layers):
    monkeypatch.setattr(Graft, name, patch)
  monkeypatch.setattr(Graft, 'hook', lambda self, layer, key=None: Record(self.method, layer, {}))
  batch = make_batch(tiny)
  model = Model(tiny)
  jax.eval_shape(model.logits, Tuned(), abstract(tiny), batch['source'], batch['target'])
  assert calls == collections.Counter({tuple(site): 1 for site in sites(tiny).values()})
  assert all(path == site.path for path, site in sites(tiny).items())


class Scale(Method):
  """Scales the output of every site, layer by layer."""

  def specs(self, sites, frozen):
    return Tuned(site={path: {'scale': site.spec((1,), zeros)} for path, site in sites.items()})

  def edit(self, x, y, p, shared, here=None):
    return y * (1 + p['scale'])


def test_every_site_of_every_layer_reaches_the_loss():
  cfg = TINY['umt5']
  model, batch, frozen = Model(cfg, Scale()), make_batch(cfg), draw(cfg)
  tuned = jax.tree.map(lambda spec: jnp.zeros(spec.shape), model.specs(frozen), is_leaf=is_spec)
  gradient = jax.jit(jax.grad(model.loss))(tuned, frozen, batch)
  assert gradient.site.keys() == sites(cfg).keys()
  for path, each in gradient.site.items():
    assert np.all(np.abs(each['scale']) > 1e-7), path


def test_shapes_are_those_of_the_parameter_tree(tiny):
  ids = jnp.zeros((1, 1), jnp.int32)
  params = jax.eval_shape(T5(tiny).init, jax.random.key(0), ids, ids)['params']
  flat = traverse_util.flatten_dict(params, sep='/')
  assert {path: w.shape for path, w in flat.items()} == shapes(tiny)
  assert {w.dtype for w in flat.values()} == {jnp.dtype('float32')}


@pytest.mark.parametrize('gated', [True, False])
def test_random_weights_are_drawn_as_t5_draws_them(gated):
  cfg = Config(
    vocab=500,
    d_model=64,
    d_kv=12,
    d_ff=300,
    heads=8,
    encoder_layers=5,
    decoder_layers=7,
    gated=gated,
    tied_head=not gated,
    shared_bias=not gated,
  )
  inner = cfg.heads * cfg.d_kv
  # Mesh TensorFlow's and transformers' initialisers; the head is T5X's.
  stds = {
    'token_embedding': 1.0,
    'relative_bias': cfg.d_model**-0.5,
    'q': (cfg.d_model * cfg.d_kv) ** -0.5,
    'k': cfg.d_model**-0.5,
    'v': cfg.d_model**-0.5,
    'o': inner**-0.5,
    'wi': cfg.d_model**-0.5,
    'wi_0': cfg.d_model**-0.5,
    'wi_1': cfg.d_model**-0.5,
    'wo': cfg.d_ff**-0.5,
    'lm_head': cfg.d_model**-0.5,
  }
  weights = random_weights(cfg, jax.random.key(3))
  seen = set()
  for path, weight in weights.items():
    name = path.removesuffix('/kernel').rpartition('/')[-1]
    if name == 'scale':
      assert np.all(weight == 1), path
      continue
    error = 5 / math.sqrt(2 * weight.size)  # five deviations of a sample's deviation
    assert np.std(weight) == pytest.approx(stds[name], rel=error), path
    assert abs(np.mean(weight)) < 5 * stds[name] / math.sqrt(weight.size), path
    layers = weight if '/layers/' in path else weight[None]
    seen |= {np.asarray(layer).ravel()[:50].tobytes() for layer in layers}
  drawn = [path for path in weights if not path.endswith('scale')]
  assert len(seen) == sum(len(weights[p]) if '/layers/' in p else 1 for p in drawn)


# Who sees whom.


def test_the_decoder_never_looks_ahead(frozen, batch):
  def logits(x):
    """x: [T,D], the decoder's embedded input."""

    def run(t5, x):
      memory, mask = t5.encode(batch['source'][:1], Graft())
      causal = mask_bias(np.tri(x.shape[1], dtype=bool))[None, None]
      masks = {'mask': causal, 'memory_mask': mask_bias(mask[:, None, None])}
      return t5.head(t5.decoder(x, Graft(), (), memory=memory, **masks), Graft())

    return T5(CFG).apply(nested(frozen), x[None], method=run)[0]

  x = jax.random.normal(jax.random.key(0), (6, CFG.d_model))
  influence = np.abs(jax.jit(jax.jacrev(logits))(x)).max((1, 3))  # [T of logits, T of input]
  assert np.all(influence[np.triu_indices(6, 1)] == 0)
  assert np.all(influence[np.tril_indices(6)] > 1e-4)


def test_logits_depend_on_no_later_input(frozen, batch):
  """As above, but with the masks that T5 makes itself."""
  model, target = Model(CFG), decoder_input(batch)
  logits = jax.jit(model.logits)
  plain = logits(Tuned(), frozen, batch['source'], target)
  for at in range(target.shape[1]):
    other = target.at[:, at].set(target[:, at] % 30 + 3)
    moved = np.abs(logits(Tuned(), frozen, batch['source'], other) - plain).max((0, 2))
    assert np.all(moved[:at] == 0)
    assert np.all(moved[at:] > 1e-4)


def test_the_encoder_sees_both_ways_and_no_padding(frozen):
  visible = jnp.array([True] * 5 + [False] * 2)

  def states(x):
    run = lambda t5, x: t5.encoder(x, Graft(), (), mask=mask_bias(visible[None, None, None]))
    return T5(CFG).apply(nested(frozen), x[None], method=run)[0]

  x = jax.random.normal(jax.random.key(0), (7, CFG.d_model))
  influence = np.abs(jax.jit(jax.jacrev(states))(x)).max((1, 3))
  assert np.all(influence[:5, :5] > 1e-4)
  assert np.all(influence[:5, 5:] == 0)


def test_padding_changes_nothing():
  cfg = TINY['t5']
  batch, frozen = make_batch(cfg), draw(cfg)
  logits = jax.jit(Model(cfg).logits)
  plain = logits(Tuned(), frozen, batch['source'], batch['target'])
  wider = jnp.pad(batch['source'], ((0, 0), (0, 5)), constant_values=cfg.pad_id)
  got = logits(Tuned(), frozen, wider, batch['target'])
  # What is hidden adds exact zeros, but moves the order of the sums.
  np.testing.assert_allclose(got, plain, atol=2e-6, rtol=1e-6)


def test_rows_do_not_touch_each_other(frozen, batch):
  logits = jax.jit(Model(CFG).logits)
  target = decoder_input(batch)
  both = logits(Tuned(), frozen, batch['source'], target)
  other = batch['source'].at[1].set(9), target.at[1].set(8)
  np.testing.assert_array_equal(logits(Tuned(), frozen, *other)[0], both[0])
  assert np.abs(logits(Tuned(), frozen, *other)[1] - both[1]).max() > 1e-3


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_row_of_padding_is_finite(dtype, frozen, batch):
  model = Model(CFG, Unfreeze('decoder/norm/scale'), dtype)
  tuned = lively(model, frozen)
  blank = lambda ids: ids.at[1].set(CFG.pad_id)
  grad = jax.jit(jax.value_and_grad(model.loss))
  row = {name: blank(ids) for name, ids in batch.items()}
  alone = {name: ids[:1] for name, ids in batch.items()}
  for got, want in zip(
    jax.tree.leaves(grad(tuned, frozen, row)), jax.tree.leaves(grad(tuned, frozen, alone))
  ):
    # A row without labels counts for nothing; in bfloat16, sums of other lengths round elsewhere.
    np.testing.assert_allclose(got, want, rtol=1e-5 if dtype == 'float32' else 0.1, atol=1e-5)
  empty = {name: jnp.full_like(ids, CFG.pad_id) for name, ids in batch.items()}
  assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(grad(tuned, frozen, empty)))


# Dropout.


def test_dropout_follows_its_key(frozen, batch):
  model = Model(CFG)
  loss = jax.jit(model.loss)
  run = lambda *key: float(loss(Tuned(), frozen, batch, *key))
  assert run(jax.random.key(5)) == run(jax.random.key(5))
  assert len({run(), *(run(jax.random.key(seed)) for seed in range(6))}) == 7


def test_a_rate_of_zero_is_no_dropout(frozen, batch):
  cfg = Config(**{**vars(CFG), 'dropout': 0.0})
  loss = jax.jit(Model(cfg).loss)
  without = float(jax.jit(Model(CFG).loss)(Tuned(), frozen, batch))
  # Another program, in which sums may run in another order.
  assert float(loss(Tuned(), frozen, batch, jax.random.key(0))) == pytest.approx(without, rel=1e-6)


def test_every_place_and_layer_draws_a_mask_of_its_own(frozen, batch, monkeypatch):
  draws = []
  draw = dropout.random_bits

  def record(key, shape):
    bits = draw(key, shape)
    jax.debug.callback(lambda bits: draws.append(np.array(bits)), bits)
    return bits

  monkeypatch.setattr(dropout, 'random_bits', record)
  logits = Model(CFG).logits(
    Tuned(), frozen, batch['source'], decoder_input(batch), jax.random.key(0)
  )
  jax.block_until_ready(logits)
  jax.effects_barrier()
  b, s = batch['source'].shape
  t, h, d, ff = batch['target'].shape[1], CFG.heads, CFG.d_model, CFG.d_ff
  want = collections.Counter()
  for length, depth, keys in (s, CFG.encoder_layers, [s]), (t, CFG.decoder_layers, [t, s]):
    want[b, length, d] += 2  # what enters the stack, and what leaves it
    for seen in keys:
      want[b, h, length, seen] += depth  # the shares of attention
      want[b, length, d] += depth  # its output
    want[b, length, ff] += depth  # within the feed-forward
    want[b, length, d] += depth  # its output
  assert collections.Counter(bits.shape for bits in draws) == want
  assert len({bits.ravel()[:40].tobytes() for bits in draws}) == want.total()
  every = np.concatenate([bits.ravel() for bits in draws])
  assert np.mean(every < CFG.dropout * 2**16) == pytest.approx(CFG.dropout, abs=0.02)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('rate', [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(rate, dtype):
  x = jnp.full((300, 400), 3, dtype)
  y = Dropout(rate, training=True).apply({}, x, rngs={'dropout': jax.random.key(0)})
  assert y.dtype == x.dtype
  y = np.asarray(y, np.float64)
  assert np.mean(y == 0) == pytest.approx(rate, abs=0.01)
  # Half of the last digit of a bfloat16, and 1 / 65,536 of the rate.
  np.testing.assert_allclose(y[y != 0], 3 / (1 - rate), rtol=4e-3 if dtype == 'bfloat16' else 1e-3)
  assert np.mean(y) == pytest.approx(3, rel=0.05)
  for axis in 0, 1:  # no mask is shared along a dimension
    assert np.std(np.mean(y == 0, axis)) < 3 * math.sqrt(rate * (1 - rate) / y.shape[axis])
  assert Dropout(rate, training=False).apply({}, x) is x
