"""What every method obeys. A new file in compacter_jax/methods is tested by being there.

If its defaults do not suit a tiny T5, give the field a value in SMALL. If a law is not meant to
hold, say so in EXCEPT; the exception is then checked in turn. More instances go to MORE.
"""

import dataclasses
import functools
import typing

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util
from jax.extend.core import jaxprs_in_params

from compacter_jax import adapter_file, methods, sharding
from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError
from compacter_jax.graft import Graft, Hook
from compacter_jax.method import Method, Tuned, count, init, is_spec
from compacter_jax.methods.adapter import Adapter
from compacter_jax.methods.compacter import Compacter
from compacter_jax.methods.dora import DoRA
from compacter_jax.methods.ia3 import Ia3
from compacter_jax.methods.krona import KronA
from compacter_jax.methods.loha import LoHa
from compacter_jax.methods.lokr import LoKr
from compacter_jax.methods.lora import LoRA
from compacter_jax.methods.parallel_adapter import ParallelAdapter
from compacter_jax.methods.prefix import Prefix
from compacter_jax.methods.prompt import Prompt
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.methods.vera import VeRA
from compacter_jax.model import Model, shift_right
from compacter_jax.t5 import decode
from compacter_jax.t5.config import Config, shapes
from compacter_jax.t5.mode import Mode
from compacter_jax.t5.network import T5, Segments
from compacter_jax.t5.stack import Stack

CFG = Config(
  vocab=32, d_model=16, d_kv=8, d_ff=32, heads=2, encoder_layers=2, decoder_layers=3, dropout=0.0
)

SMALL = {
  'width': 8,
  'rank': 2,
  'length': 5,
  'dimension': 100,
}  # settings of every method that has such a field


@dataclasses.dataclass(frozen=True)
class Case:
  """A method and which laws hold.

  Attributes:
    starts_plain: freshly made, it computes what the plain T5 does.
    zero_is_plain: so it does when all that is tuned is zero.
    thorough: whether to check the laws that take long to compile.
  """

  method: Method
  starts_plain: bool = True
  zero_is_plain: bool = True
  thorough: bool = False


EXCEPT = {
  'adapter': {'starts_plain': False},  # N(0, 0.01^2), as published: near, but not equal
  'dora': {'zero_is_plain': False},  # its magnitudes multiply
  'unfreeze': {'zero_is_plain': False},  # it trains T5's weights themselves
  'ia3': {'zero_is_plain': False},  # it multiplies
  'low_rank_adapter': {'starts_plain': False},  # Glorot, as published
  'prefix': {'starts_plain': False, 'zero_is_plain': False},  # zeros are seen too
  'prompt': {'starts_plain': False, 'zero_is_plain': False},  # zeros are seen too
}


def _compacter(**fields):
  return Compacter(**{'width': 8, **fields})


MORE = {
  'compacter-rank_2-factorized_a-kron': Case(
    _compacter(n=2, rank=2, factorized_a=True, route='kron', activation='relu')
  ),
  'compacter-phm': Case(_compacter(rank=None, share_a=False), starts_plain=False),
  'compacter-share_b-factored-layers': Case(
    _compacter(share_b=True, route='factored', encoder_layers=(1,), decoder_layers=(0, 2))
  ),
  'compacter-fixed_a': Case(_compacter(learn_a=False, rank=None, route='factored', bias=False)),
  'compacter-fixed_a-own': Case(
    _compacter(learn_a=False, share_a=False, share_b=True, where='.*/ffn', seed=3),
    starts_plain=False,
  ),
  'unfreeze-layers': Case(
    Unfreeze('.*norm/scale|encoder/.*', encoder_layers=(1,), decoder_layers=(0, 2)),
    zero_is_plain=False,
  ),
  'lora-stabilized-layers': Case(
    LoRA(rank=2, rank_stabilized=True, where='.*/(o|wi)', encoder_layers=(), decoder_layers=(1, 2))
  ),
  'dora-stabilized-layers': Case(
    DoRA(rank=2, rank_stabilized=True, where='.*/(o|wi)', encoder_layers=(), decoder_layers=(1, 2)),
    zero_is_plain=False,
  ),
  'vera-sizes-layers': Case(VeRA(rank=3, where='.*/(q|wi|wo)', decoder_layers=(0, 2))),
  'loha-built-layers': Case(LoHa(rank=4, where='.*/(o|wi)', encoder_layers=(1,))),
  'lokr-both-layers': Case(
    LoKr(rank=1, decompose_both=True, where='.*/(wi|wo)', decoder_layers=(1, 2))
  ),
  'krona-beside-layers': Case(KronA(rows=2, where='.*/(ffn|self_attention)', decoder_layers=(1,))),
  'ia3-layers': Case(Ia3(encoder_layers=(1,), decoder_layers=(0, 2)), zero_is_plain=False),
  'parallel_adapter-learn_scale-layers': Case(
    ParallelAdapter(
      width=4, learn_scale=True, where='.*/(q|cross_attention)', decoder_layers=(1, 2)
    )
  ),
  'prefix-network-layers': Case(
    Prefix(length=3, bottleneck=4, decoder_layers=(0, 2)), starts_plain=False, zero_is_plain=False
  ),
  'mam': Case(
    chain(prefix=Prefix(length=3, bottleneck=4), adapters=ParallelAdapter(width=4)),
    starts_plain=False,
    zero_is_plain=False,
  ),
  'prompt-vocabulary': Case(
    Prompt(length=3, init='vocabulary'), starts_plain=False, zero_is_plain=False
  ),
  # Folded in the order of the forward pass, and not of the parts.
  'chain-kernel_behind_lora': Case(
    chain(lora=LoRA(rank=2, where='.*/ffn/wo'), weights=Unfreeze('.*/ffn/wo/kernel')),
    zero_is_plain=False,
  ),
  'chain-gain_in_front_of_lora': Case(
    chain(gains=Ia3('.*/ffn/activation'), lora=LoRA(rank=2, where='.*/ffn/wo')),
    zero_is_plain=False,
  ),
  'ia3-both_sides': Case(Ia3('.*/ffn/(activation|wo)'), zero_is_plain=False),
  'adapter-layers-twice': Case(  # the second is cut where the first begins
    chain(
      some=Adapter(width=8, encoder_layers=(), decoder_layers=(1, 2)),
      every=Adapter(width=4, where='.*/ffn'),
    ),
    starts_plain=False,
  ),
  'chain': Case(
    chain(norms=Unfreeze('.*norm/scale'), adapters=_compacter()), zero_is_plain=False, thorough=True
  ),
}


def _cases():
  for name in methods.names():
    known = {field.name for field in dataclasses.fields(methods.method_class(name))}
    small = {field: value for field, value in SMALL.items() if field in known}
    yield name, Case(methods.load(name, **small), thorough=True, **EXCEPT.get(name, {}))
  yield from MORE.items()


CASES = dict(_cases())
every = pytest.mark.parametrize('case', CASES.values(), ids=CASES)
THOROUGH = {name: case for name, case in CASES.items() if case.thorough}
thorough = pytest.mark.parametrize('case', THOROUGH.values(), ids=THOROUGH)


@functools.cache
def frozen():
  rng = np.random.default_rng(0)

  def weight(path, shape):
    noise = rng.standard_normal(shape, np.float32)
    if path.endswith('scale'):
      return 1 + 0.3 * noise
    return noise * (0.5 * shape[-2] ** -0.5 if path.endswith('kernel') else 0.5)

  with jax.ensure_compile_time_eval():  # cached: the first to ask may be a program being traced
    return {path: jnp.asarray(weight(path, shape)) for path, shape in shapes(CFG).items()}


@functools.cache
def batch():
  rng = np.random.default_rng(0)
  source = rng.integers(2, CFG.vocab, (8, 6))
  target = rng.integers(2, CFG.vocab, (8, 5))
  source[1::2, 4:], target[::3, 3:] = CFG.pad_id, CFG.pad_id
  with jax.ensure_compile_time_eval():
    return {'source': jnp.array(source, jnp.int32), 'target': jnp.array(target, jnp.int32)}


def inputs():
  return batch()['source'], shift_right(batch()['target'], CFG)


@functools.cache
def fresh(method):
  """What the method trains, as first made (numpy arrays, for they are cheap to alter)."""
  model = Model(CFG, method)
  return jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(1), frozen()))


def noisy(method, scale=0.1):
  rng = np.random.default_rng(2)
  noise = lambda x: x + scale * rng.standard_normal(x.shape).astype(np.float32)
  return jax.tree.map(noise, fresh(method))


@functools.cache
def program(method):
  """(tuned, frozen, batch) -> ((loss, logits), gradient), compiled once for all laws."""

  def both(*inputs):
    seen = []

    class Watched(Model):  # the logits of this very loss: T5 takes seconds to compile
      def logits(self, *args):
        seen.append(super().logits(*args))
        return seen[0]

    return Watched(CFG, method).loss(*inputs), seen[0]

  return jax.jit(jax.value_and_grad(both, has_aux=True))


def logits(method, tuned):
  return np.asarray(program(method)(tuned, frozen(), batch())[0][1])


@functools.cache
def plain_program():
  return jax.jit(lambda weights, inputs: Model(CFG).logits(Tuned(), weights, *inputs))


def plain(weights=None):
  return np.asarray(plain_program()(frozen() if weights is None else weights, inputs()))


def close(a, b, rtol):
  """Whether two arrays differ by less than rtol of the largest number in them."""
  a, b = np.asarray(a), np.asarray(b)
  return np.abs(a - b).max() <= rtol * np.abs(b).max()


def paths(tree, **kwargs):
  leaves = jax.tree_util.tree_leaves_with_path(tree, **kwargs)
  return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


@every
def test_count_is_known_before_any_array_exists(case):
  specs = Model(CFG, case.method).specs()
  made = {path: array.shape for path, array in paths(fresh(case.method))}
  assert {path: spec.shape for path, spec in paths(specs, is_leaf=is_spec)} == made
  assert Model(CFG, case.method).count() == count(specs) == sum(map(np.prod, made.values())) > 0


@every
def test_axes_name_every_dimension(case):
  for path, spec in paths(Model(CFG, case.method).specs(), is_leaf=is_spec):
    assert len(spec.axes) == len(spec.shape), path
    assert {axis for axis in spec.axes if axis} <= set(sharding.RULES), path


@every
def test_fresh_it_is_the_plain_t5(case):
  assert close(logits(case.method, fresh(case.method)), plain(), 1e-5) == case.starts_plain


@every
def test_zero_it_is_the_plain_t5(case):
  zero = jax.tree.map(np.zeros_like, fresh(case.method))
  assert close(logits(case.method, zero), plain(), 1e-6) == case.zero_is_plain


@every
def test_every_array_learns_in_every_layer(case):
  _, gradient = program(case.method)(noisy(case.method), frozen(), batch())
  specs = dict(paths(Model(CFG, case.method).specs(), is_leaf=is_spec))
  for path, array in paths(gradient):
    layers = array if specs[path].axes[:1] == ('layer',) else array[None]
    dead = [i for i, layer in enumerate(layers) if not np.any(layer)]
    assert not dead, f'{path} has no gradient in layers {dead}'
    assert np.isfinite(array).all(), path


@every
def test_folded_it_computes_the_same_or_says_why_not(case):
  model, tuned = Model(CFG, case.method), noisy(case.method)
  try:
    folded = model.fold(frozen(), tuned)
  except TypeError as error:
    assert len(str(error).split()) > 5
    return
  assert {path: w.shape for path, w in folded.items()} == {p: w.shape for p, w in frozen().items()}
  assert close(plain(folded), logits(case.method, tuned), 1e-5)
  assert not close(plain(folded), plain(), 1e-3)  # or the noise did nothing


@every
def test_it_is_part_of_the_key_of_a_compiled_program(case):
  same = dataclasses.replace(case.method) if not isinstance(case.method, chain) else case.method
  assert same == case.method and hash(same) == hash(case.method)
  compiled = jax.jit(lambda grafted: grafted.tuned)
  compiled(Graft(case.method))
  compiled(Graft(same))
  assert compiled._cache_size() == 1
  others = list(_others(case.method))
  for other in others:
    compiled(Graft(other))
  assert len(others) > 0 and compiled._cache_size() == 1 + len(others)


def _others(method):
  """The method with each of its fields changed in turn."""
  if isinstance(method, chain):
    parts = dict(method.parts)
    for name, part in parts.items():
      yield from (chain(**{**parts, name: other}) for other in _others(part))
    yield chain(**dict(reversed(parts.items())))
    return
  for field in dataclasses.fields(method):
    value, hint = getattr(method, field.name), typing.get_type_hints(type(method))[field.name]
    layers = ((0, 9),) if hint == tuple[tuple[int, ...], ...] else (0, 9)
    unset = layers if tuple[int, ...] in typing.get_args(hint) else 7
    other = {str: 'another', bool: not value, type(None): unset, tuple: layers}
    changed = other[type(value)] if type(value) in other else value + 1
    yield dataclasses.replace(method, **{field.name: changed})


@pytest.mark.parametrize('name', [n for n, c in THOROUGH.items() if hasattr(c.method, 'seed')])
@pytest.mark.parametrize('seed', [-1, 2**32, 10**30])
def test_a_seed_is_one_by_itself(name, seed):
  method = dataclasses.replace(THOROUGH[name].method, seed=seed)
  with pytest.raises(ConfigError, match='seed is out of range'):
    Model(CFG, method).specs()


def test_a_field_changes_the_function_though_the_arrays_stay():
  relu, gelu = Adapter(width=8, activation='relu'), Adapter(width=8)
  run = jax.jit(lambda model, tuned: model.logits(tuned, frozen(), *inputs()), static_argnums=0)
  tuned = noisy(relu)
  assert not close(run(Model(CFG, relu), tuned), run(Model(CFG, gelu), tuned), 1e-4)


MESHES = {'8x1': (8, 1, 1), '4x2': (1, 4, 2)}


@thorough
@pytest.mark.parametrize('sizes', MESHES.values(), ids=MESHES)
def test_sharding_changes_nothing(case, sizes):
  mesh = sharding.make_mesh(*sizes)
  model = Model(CFG, case.method)
  one_tuned = noisy(case.method)
  tuned = sharding.shard(mesh, model.specs(), one_tuned)
  weights = sharding.shard(mesh, sharding.t5_axes(frozen()), frozen())
  rows = sharding.shard_batch(mesh, batch())

  _assert_split(rows['source'], sizes[0] * sizes[1])
  _assert_split(weights['encoder/layers/ffn/wi/kernel'], sizes[1] * sizes[2])
  _assert_split(weights['token_embedding'], sizes[1] * sizes[2])
  for path, array in paths(tuned.weights):
    if path.endswith("attention/q/kernel']"):
      _assert_split(array, sizes[1] * sizes[2])

  (one, _), one_gradient = program(case.method)(one_tuned, frozen(), batch())
  (many, _), gradient = program(case.method)(tuned, weights, rows)
  np.testing.assert_allclose(many, one, rtol=1e-5)
  assert len(many.sharding.device_set) == 8
  for (path, a), (_, b) in zip(paths(gradient), paths(one_gradient), strict=True):
    # A bias on keys moves no softmax: its gradient is rounding.
    assert close(a, b, 1e-5) or np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-8, path


def _assert_split(array, ways):
  shard = array.addressable_shards[0].data
  assert len(array.addressable_shards) == 8 and array.size == ways * shard.size


@every
def test_cached_decoding_gives_the_same_logits(case):
  model, tuned = Model(CFG, case.method), noisy(case.method)

  def stepwise(tuned, weights):
    params, grafted, _ = model._join(tuned, weights)
    return decode.stepwise_logits(T5(CFG, Mode()), params, grafted, *inputs())

  assert close(jax.jit(stepwise)(tuned, frozen()), logits(case.method, tuned), 1e-5)


def pairs(table, fill):
  """Every two rows of a table laid behind one another without padding, and whose each id is."""
  packed = np.full((len(table) // 2, 2 * table.shape[1]), fill, np.int32)
  numbers = np.zeros_like(packed)
  for line, row in enumerate(np.asarray(table)):
    ids, start = row[row != fill], np.count_nonzero(numbers[line // 2])
    packed[line // 2, start : start + len(ids)] = ids
    numbers[line // 2, start : start + len(ids)] = line % 2 + 1
  return jnp.asarray(packed), jnp.asarray(numbers)


@thorough
def test_packed_examples_do_not_see_each_other(case):
  model, tuned = Model(CFG, case.method), noisy(case.method)
  if jax.tree.leaves(model.specs().prompt, is_leaf=is_spec):
    with pytest.raises(ConfigError, match='prompt'):
      model.check_packing()
    return
  model.check_packing()
  (source, mine), (target, theirs) = (pairs(batch()[k], CFG.pad_id) for k in ('source', 'target'))

  def packed_logits(tuned, weights):
    segments = Segments(mine, theirs)
    fed = shift_right(target, CFG, segments)
    return model.logits(tuned, weights, source, fed, segments=segments)

  got = np.asarray(jax.jit(packed_logits)(tuned, frozen()))
  want = logits(case.method, tuned)[np.asarray(batch()['target']) != CFG.pad_id]
  in_order = []
  for line in range(len(got)):
    in_order += [got[line][np.asarray(theirs)[line] == segment] for segment in (1, 2)]
  assert close(np.concatenate(in_order), want, 1e-5)


@every
def test_scanned_layers_equal_layers_called_one_by_one(case, monkeypatch):
  tuned = noisy(case.method)
  scanned = logits(case.method, tuned)

  def one_by_one(self, layer, carry, graft, live=()):
    weights = traverse_util.flatten_dict(self.layers, sep='/')
    outputs = []
    for i in range(len(next(iter(weights.values())))):
      mine = {path: _run(graft, self.name, path, i, w)[i] for path, w in weights.items()}
      params = traverse_util.unflatten_dict(mine, sep='/')
      hook = Hook(graft.method, _arrays(graft, self.name, i), graft.tuned.shared)
      carry, out = layer(self.block.bind({'params': params}), carry, hook, i)
      outputs.append(out)
    return carry, jax.tree.map(lambda *layers: jnp.stack(layers), *outputs)

  monkeypatch.setattr(Stack, 'scan', one_by_one)
  run = jax.jit(lambda tuned: Model(CFG, case.method).logits(tuned, frozen(), *inputs()))
  assert close(run(tuned), scanned, 1e-5)


def _arrays(graft, stack, i):
  """What the method has at each site of one layer, found without Graft's own bookkeeping."""
  out = {}
  cuts = {f'layers[{a}:{b}]': a for a in range(i + 1) for b in range(i + 1, 9)} | {'layers': 0}
  for path, arrays in graft.tuned.site.items():
    parts = path.split('/')
    if parts[0] == stack and parts[1] in cuts:
      mine = jax.tree.map(lambda a, at=i - cuts[parts[1]]: a[at], arrays)
      site = '/'.join(parts[2:])
      out[site] = out.get(site, {}) | mine
  return out


def _run(graft, stack, path, i, weight):
  """The stacked weight, with layer i as the method has it."""
  for a, b in ((a, b) for a in range(i + 1) for b in range(i + 1, 9)):
    run = f'{stack}/layers[{a}:{b}]/{path}'
    if run in graft.runs:
      weight = weight.at[i].set(graft.runs[run][i - a])
  return weight


@thorough
def test_bfloat16_needs_no_unasked_promotion(case):
  half = {path: w.astype(jnp.bfloat16) for path, w in frozen().items()}
  model = Model(CFG, case.method, dtype='bfloat16')
  with jax.numpy_dtype_promotion('strict'):
    step = jax.jit(jax.value_and_grad(model.loss)).trace(fresh(case.method), half, batch())
    loss, gradient = step.lower().compile()(fresh(case.method), half, batch())
  assert not list(_narrow_sums(step.jaxpr.jaxpr))  # as those of the gradient of a bias
  assert loss.dtype == jnp.float32
  assert np.isfinite(loss)
  for path, array in paths(gradient):
    assert array.dtype == jnp.float32 and np.isfinite(array).all(), path
  (exact, _), _ = program(case.method)(fresh(case.method), frozen(), batch())
  np.testing.assert_allclose(loss, exact, rtol=0.05)  # 8 bits of mantissa


def _narrow_sums(jaxpr):
  """Sums over a dimension of arrays of bfloat16, of which each step is rounded."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'reduce_sum' and equation.invars[0].aval.dtype == jnp.bfloat16:
      yield equation
    for inner in jaxprs_in_params(equation.params):
      yield from _narrow_sums(inner)


OPTIMIZERS = {
  'adamw': lambda: optax.adamw(1e-2, weight_decay=0.1),
  'adafactor': lambda: optax.adafactor(1e-2, weight_decay_rate=1e-3),
}


@thorough
@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_frozen_weights_keep_every_bit(case, optimizer):
  model = Model(CFG, case.method)
  odd = {path: np.array(w) for path, w in frozen().items()}
  for w in odd.values():
    w[..., :2] = -0.0, 1e-40  # which no pass through arithmetic would leave as they are
  before = {path: w.tobytes() for path, w in odd.items()}
  odd = {path: jnp.array(w) for path, w in odd.items()}
  tuned = jax.tree.map(jnp.array, fresh(case.method))
  # Made anew: it starts as a copy of what is frozen, and the copy is what must be donated below.
  tuned = tuned._replace(weights=init(model.specs(odd).weights, jax.random.key(1)))
  weights = model.trim(odd)
  first = jax.tree.map(np.array, tuned)
  opt = OPTIMIZERS[optimizer]()
  with jax.numpy_dtype_promotion('standard'):  # optax needs it
    state = jax.jit(opt.init)(tuned)

  def update(tuned, state, gradient):
    updates, state = opt.update(gradient, state, tuned)
    return optax.apply_updates(tuned, updates), state

  # Donated: what is tuned must share no memory with what is frozen.
  update = jax.jit(update, donate_argnums=(0, 1))
  for _ in range(50):
    _, gradient = program(case.method)(tuned, weights, batch())
    with jax.numpy_dtype_promotion('standard'):
      tuned, state = update(tuned, state, gradient)

  assert {path: np.asarray(w).tobytes() for path, w in odd.items()} == before
  for (path, a), (_, b) in zip(paths(tuned), paths(first), strict=True):
    assert np.isfinite(a).all() and not np.array_equal(a, b), path


@every
def test_saved_and_loaded_it_has_every_bit(case, tmp_path):
  model, tuned = Model(CFG, case.method), noisy(case.method)
  adapter_file.save(tmp_path, model, tuned, base())
  again, loaded = adapter_file.load(tmp_path, CFG, frozen())
  assert again == model
  assert jax.tree.structure(loaded) == jax.tree.structure(tuned)
  chex.assert_trees_all_equal(loaded, tuned)


@functools.cache
def base():
  return adapter_file.fingerprint(frozen())


@every
def test_no_weight_is_held_twice(case):
  model = Model(CFG, case.method)
  parts = dict(case.method.parts) if isinstance(case.method, chain) else {'': case.method}
  tuned = {path for part in parts.values() if isinstance(part, Unfreeze) for path in _hits(part)}
  assert set(model.trim(frozen())) == set(frozen()) - tuned
  assert tuned == set(case.method.superseded(frozen()))


def _hits(unfreeze):
  """The weights trained in every layer; of those trained in some, the others are still read."""
  return {path for path in Model(CFG, unfreeze).specs().weights if '[' not in path}


def test_full_fine_tuning_leaves_nothing_frozen():
  assert Model(CFG, Unfreeze('.*')).trim(frozen()) == {}
