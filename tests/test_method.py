import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from compacter_jax import method as lib
from compacter_jax import methods
from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError
from compacter_jax.graft import Graft, graft
from compacter_jax.inits import ones, zeros
from compacter_jax.method import Here, Method, Site, Spec, Tuned, declare, match
from compacter_jax.methods.adapter import Adapter
from compacter_jax.methods.compacter import Compacter
from compacter_jax.methods.intrinsic import Intrinsic
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.t5.config import Config, shapes
from compacter_jax.t5.sites import sites

CFG = Config(vocab=32, d_model=16, d_kv=8, d_ff=32, heads=2, encoder_layers=12, decoder_layers=12)
SITES = sites(CFG)


@dataclasses.dataclass(frozen=True)
class Add(Method):
  """Adds a number to the encoder's feed-forward and another to the whole model."""

  number: float = 1.0

  def specs(self, sites, frozen):
    site = sites['encoder/layers/ffn']
    return Tuned(
      site={site.path: {'w': site.spec((), ones)}},
      shared={'v': Spec((), ones, ())},
      prompt={'p': Spec((2,), zeros, (None,))},
    )

  def constants(self, sites):
    return Tuned(shared={'c': jnp.array(self.number)})

  def edit(self, x, y, p, shared, here=None):
    return 2 * y + p['w'] * shared['v'] * shared['c']

  def prompt(self, x, mask, p):
    return x + p['p'], mask


def paths(where, encoder=None, decoder=None):
  return sorted(match(SITES, where, encoder, decoder))


def test_match_takes_the_whole_path():
  assert paths('.*/ffn') == ['decoder/layers/ffn', 'encoder/layers/ffn']
  assert paths('encoder/layers/ffn/w.') == ['encoder/layers/ffn/wi', 'encoder/layers/ffn/wo']
  assert paths('.*attention') == [
    'decoder/layers/cross_attention',
    'decoder/layers/self_attention',
    'encoder/layers/self_attention',
  ]


def test_match_cuts_layers_into_unbroken_runs():
  ffn = '.*/ffn'
  assert paths(ffn, (5, 6, 7), ()) == ['encoder/layers[5:8]/ffn']
  assert paths(ffn, (11, 0, 1, 3, 1), ()) == [
    'encoder/layers[0:2]/ffn',
    'encoder/layers[11:12]/ffn',
    'encoder/layers[3:4]/ffn',
  ]
  assert paths(ffn, tuple(range(12)), (2,)) == ['decoder/layers[2:3]/ffn', 'encoder/layers/ffn']
  depths = {path: site.depth for path, site in match(SITES, ffn, (5, 6, 7), None).items()}
  assert depths == {'encoder/layers[5:8]/ffn': 3, 'decoder/layers/ffn': 12}


def test_layers_do_not_touch_what_is_outside_of_them():
  assert paths('encoder/norm|encoder/layers/ffn', (0,)) == [
    'encoder/layers[0:1]/ffn',
    'encoder/norm',
  ]


def test_a_pattern_that_matches_nothing_lists_the_sites():
  with pytest.raises(ConfigError, match=r'No site of T5 matches(.|\n)*decoder/layers/ffn\n'):
    match(SITES, '.*/query')
  with pytest.raises(ConfigError, match='No site'):
    match(SITES, 'layers/ffn')  # part of a path is no match


@pytest.mark.parametrize('layers', [(12,), (-1,), (0, 99)])
def test_a_layer_that_does_not_exist_is_an_error(layers):
  with pytest.raises(ConfigError, match='layers from 0 to 11') as error:
    match(SITES, '.*/ffn', None, layers)
  assert error.value.where == 'decoder_layers'


def test_no_layer_at_all_is_an_error():
  for method in (
    Compacter(encoder_layers=(), decoder_layers=()),
    Adapter(where='encoder/.*/ffn', encoder_layers=()),
  ):
    with pytest.raises(ConfigError, match='No layer is left'):
      method.specs(SITES, {})


def test_a_site_stacks_its_layers():
  axes = ('layer', 'embed', None)
  assert SITES['encoder/layers/ffn'].spec((16, 3), ones, ('embed', None)).axes == axes
  assert SITES['encoder/layers/ffn'].spec((16, 3), ones).shape == (12, 16, 3)
  assert Site('lm_head', 16, 32, None).spec((16, 3), ones) == Spec((16, 3), ones, (None, None))


def test_declared_modules_get_weights_of_their_own_in_every_layer():
  specs = declare(nn.Dense(3), SITES['encoder/layers/ffn'])
  assert {name: spec.shape for name, spec in specs.items()} == {
    'kernel': (12, 16, 3),
    'bias': (12, 3),
  }
  made = lib.init(Tuned(site={'x': specs}), jax.random.key(0)).site['x']
  kernels = np.asarray(made['kernel']).reshape(12, -1)
  assert len(np.unique(kernels, axis=0)) == 12
  assert lib.count(specs) == sum(a.size for a in jax.tree.leaves(made)) == 12 * 51
  once = declare(nn.Dense(3), SITES['lm_head'])
  assert once['kernel'].shape == (32, 3) and once['kernel'].axes == (None, None)


def test_init_depends_on_the_key_and_draws_each_array_apart():
  specs = Compacter(width=8).specs(SITES, {})
  made = [lib.init(specs, jax.random.key(k)) for k in (0, 0, 1)]
  flat = [jax.tree.leaves(tuned) for tuned in made]
  assert all(map(np.array_equal, flat[0], flat[1]))
  assert not any(np.array_equal(a, b) for a, b in zip(flat[0], flat[2]) if np.any(a))
  ffn = [made[0].site[f'{stack}/layers/ffn']['down']['s'] for stack in ('encoder', 'decoder')]
  assert not np.array_equal(*ffn)


def test_identity_declares_nothing_and_changes_nothing():
  method = Method()
  assert method.specs(SITES, {}) == method.constants(SITES) == Tuned()
  assert lib.init(Tuned(), jax.random.key(0)) == Tuned() and lib.count(Tuned()) == 0
  frozen = {'a': 1}
  assert method.weights(frozen, {}) is frozen and method.fold(frozen, Tuned()) is frozen
  assert method.edit(1, 2, {}, {}) == 2 and method.prompt(1, 2, {}) == (1, 2)
  assert method.superseded(frozen) == ()


def test_graft_lays_constants_beside_what_is_tuned():
  add = Add(number=3.0)
  tuned = lib.init(add.specs(SITES, {}), jax.random.key(0))
  grafted = graft(add, tuned, SITES)
  assert set(grafted.tuned.shared) == {'v', 'c'} and set(tuned.shared) == {'v'}
  hook = grafted.hook({'ffn': {'w': jnp.array(5.0)}})
  assert hook('ffn', None, 1.0) == 2 + 5 * 3
  assert hook('self_attention', None, 1.0) == 1.0


def test_graft_cuts_a_stack_where_layers_differ():
  site = lambda start, stop, width: {
    f'encoder/layers[{start}:{stop}]/ffn': {'w': np.arange(start, stop)},
    f'encoder/layers[{start}:{stop}]/ffn/wi': {'u': np.arange(width)},
  }
  grafted = Graft(
    Method(),
    Tuned(site={**site(1, 4, 3), **site(6, 8, 2), 'decoder/layers/ffn': {'w': np.arange(12)}}),
  )
  assert grafted.segments('encoder', 12) == [(0, 1), (1, 4), (4, 6), (6, 8), (8, 12)]
  assert grafted.segments('decoder', 12) == [(0, 12)]
  assert grafted.layers('encoder', 4, 6) == {}
  assert {k: v for k, v in grafted.layers('encoder', 6, 8).items()}['ffn']['w'].tolist() == [6, 7]
  assert grafted.layers('decoder', 0, 12)['ffn']['w'].tolist() == list(range(12))


def test_sites_of_several_parts_meet_in_one_layer():
  """Parts of a chain that cut a stack differently: every layer gets what is its own."""
  method = chain(
    a=Adapter(width=2, where='encoder/layers/ffn', encoder_layers=(2, 3, 4)),
    b=Adapter(width=2, where='encoder/layers/ffn', encoder_layers=(4, 5)),
    c=Adapter(width=2, where='encoder/layers/ffn'),
  )
  tuned = lib.init(method.specs(SITES, {}), jax.random.key(0))
  grafted = graft(method, tuned, SITES)
  assert grafted.segments('encoder', 12) == [(0, 2), (2, 4), (4, 5), (5, 6), (6, 12)]
  of = lambda start, stop: sorted(grafted.layers('encoder', start, stop)['ffn'])
  assert [of(0, 2), of(2, 4), of(4, 5), of(5, 6)] == [
    ['c'],
    ['a', 'c'],
    ['a', 'b', 'c'],
    ['b', 'c'],
  ]
  kernel = lambda tree: np.asarray(tree['down']['kernel'])
  mine = grafted.layers('encoder', 4, 5)['ffn']
  whole = lambda run: tuned.site[f'encoder/layers{run}/ffn']
  np.testing.assert_array_equal(kernel(mine['a']), kernel(whole('[2:5]')['a'])[2:])
  np.testing.assert_array_equal(kernel(mine['b']), kernel(whole('[4:6]')['b'])[:1])
  np.testing.assert_array_equal(kernel(mine['c']), kernel(whole('')['c'])[4:5])


def test_chain_edits_in_order():
  method = chain(first=Add(1.0), second=Add(10.0))
  tuned = lib.init(method.specs(SITES, {}), jax.random.key(0))
  grafted = graft(method, tuned, SITES)
  layer = {'ffn': jax.tree.map(lambda w: w[0], tuned.site['encoder/layers/ffn'])}
  assert grafted.hook(layer)('ffn', None, 1.0) == 2 * (2 * 1 + 1) + 10
  assert grafted.hook({'ffn': {'second': layer['ffn']['second']}})('ffn', None, 1.0) == 2 + 10
  x, mask = grafted.prompt(jnp.zeros(2), None)
  assert x.tolist() == [0, 0] and mask is None


def test_chain_joins_weights_and_what_they_supersede():
  frozen = {'encoder/norm/scale': jnp.ones(3), 'lm_head/kernel': jnp.ones((3, 4)), 'else': None}
  method = chain(norm=Unfreeze('.*scale'), head=Unfreeze('lm_head.*'))
  assert method.superseded(frozen) == {'encoder/norm/scale', 'lm_head/kernel'}
  tuned = jax.tree.map(lambda w: w + 1, lib.init(method.specs({}, frozen), jax.random.key(0)))
  folded = method.fold(frozen, tuned)
  assert folded['encoder/norm/scale'].tolist() == [2, 2, 2] and folded['else'] is None
  assert folded['lm_head/kernel'].sum() == 24


def test_parts_of_a_chain_may_share_a_weight_only_layer_by_layer():
  weights = {path: jnp.ones(shape) for path, shape in shapes(CFG).items()}
  norms = lambda *layers: Unfreeze(
    '.*/layers/.*norm/scale', encoder_layers=layers, decoder_layers=()
  )
  chain(low=norms(0, 1), high=norms(2, 3), prompt=Add()).specs(SITES, weights)
  for other in norms(3, 4), Unfreeze('.*/ffn_norm/scale'), Intrinsic(dimension=1_000):
    with pytest.raises(ConfigError, match="and 'other' would both train encoder/layers"):
      chain(low=norms(0, 1), high=norms(2, 3), other=other).specs(SITES, weights)


def test_kernels_are_for_the_first_part_at_a_site():
  @dataclasses.dataclass(frozen=True)
  class Takes(Method):
    def edit(self, x, y, p, shared, here=Here()):
      return y if here.weight is None else here.weight()

  method, nothing = chain(first=Takes(), second=Takes()), {'first': {}, 'second': {}}
  here = Here(weight=lambda: jnp.float32(7))
  assert method.edit(0, 1, {'second': {}}, nothing, here) == 7
  assert method.edit(0, 1, {'first': {}}, nothing, here) == 7
  assert (
    chain(first=Add(), second=Takes()).edit(
      0, 1, {'first': {'w': 1}, 'second': {}}, {'first': {'v': 1, 'c': 1}, 'second': {}}, here
    )
    == 3
  )


def test_chain_takes_methods_only():
  with pytest.raises(ConfigError, match='made of methods'):
    chain(norms='.*norm/scale')  # pyright: ignore


def test_fold_says_why_not():
  method = Compacter(width=8)
  tuned = lib.init(method.specs(SITES, {}), jax.random.key(0))
  with pytest.raises(TypeError, match='Compacter.*edits activations'):
    method.fold({}, tuned)
  both = chain(norms=Unfreeze('else'), adapters=method)
  frozen = {'else': jnp.ones(2)}
  with pytest.raises(TypeError, match='edits activations'):
    both.fold(frozen, lib.init(both.specs(SITES, frozen), jax.random.key(0)))


def test_methods_are_found_by_the_name_of_their_file():
  assert {'adapter', 'compacter', 'unfreeze'} <= set(methods.names())
  assert methods.load('compacter', n=8) == Compacter(n=8)
  for name in methods.names():
    cls = methods.method_class(name)
    assert cls.__name__.lower() == name.replace('_', '')
    assert methods.load(name) == cls()


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (lambda: methods.load('compactor'), "did you mean 'compacter'"),
    (lambda: methods.load('compacter', widht=8), "did you mean 'width'"),
  ],
)
def test_a_misspelt_name_is_told_the_nearest(call, message):
  with pytest.raises(ConfigError, match=message):
    call()


def test_a_method_goes_to_a_config_and_back():
  one = Compacter(encoder_layers=(1, 2), rank=None)
  assert methods.from_config(methods.to_config(one)) == one
  both = chain(norms=Unfreeze('.*norm/scale'), adapters=one)
  assert methods.from_config(methods.to_config(both)) == both
  assert list(methods.to_config(both)) == ['norms', 'adapters']


def test_a_part_without_a_name_is_an_error():
  with pytest.raises(ConfigError, match=r'method\.adapters'):
    methods.from_config({'adapters': {'width': 8}})
