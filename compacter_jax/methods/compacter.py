"""Compacter (Karimi Mahabadi et al. 2021, arXiv:2106.04647), section 4.

An adapter whose two projections are sums of N Kronecker products A_i (x) B_i. The A_i are shared by
all adapters of the model, the B_i = s_i t_i are of low rank and each projection's own. Compacter++
is `where='.*/ffn'`; rank=None with share_a=False is the PHM adapter.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import traverse_util

from compacter_jax.bottleneck import Bottleneck, bottleneck_width
from compacter_jax.errors import ConfigError
from compacter_jax.hypercomplex import HypercomplexDense, a_initialiser, b_initialiser, shapes
from compacter_jax.method import Here, Method, Spec, Tuned, declare, init, is_spec, match
from compacter_jax.settings import check_seed


@dataclasses.dataclass(frozen=True)
class Compacter(Method):
  """A hypercomplex bottleneck at each site.

  Attributes:
    n: hypercomplex dimension N; divides d_model and M.
    reduction: d_model / M, M being the width of the bottleneck.
    width: M itself; None goes by `reduction`.
    rank: R of each B_i; None keeps B whole.
    share_a: one A for the whole model; else each projection has its own.
    factorized_a: A_i = l_i r_i of rank one.
    learn_a: whether A trains; else it is drawn from `seed` and stays.
    share_b: one B for all projections down and one for all projections up.
    a_init, a_range: 'normal' (std a_range) or 'uniform' (bound a_range). None is as published:
      1e-4 for an A that is shared ('uniform': 1), 0.01 for one that is not.
    b_init, b_range: 'glorot_uniform', 'glorot_normal' or 'normal' (std b_range). None is as
      published: 1e-4, and 0.01 for a B that is shared.
    activation: 'gelu_new', 'gelu', 'relu' or 'silu'.
    bias: whether the projections have biases.
    where: pattern of the sites.
    encoder_layers, decoder_layers: which layers, from 0; None is all.
    route: how the layer is computed, see HypercomplexDense.
    seed: draws an A that is not trained.
  """

  n: int = 4
  reduction: int = 32
  width: int | None = None
  rank: int | None = 1
  share_a: bool = True
  factorized_a: bool = False
  learn_a: bool = True
  share_b: bool = False
  a_init: str = 'normal'
  a_range: float | None = None
  b_init: str = 'glorot_uniform'
  b_range: float | None = None
  activation: str = 'gelu_new'
  bias: bool = True
  where: str = r'.*/(self_attention|ffn)'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None
  route: str = 'auto'
  seed: int = 0

  def specs(self, sites, frozen):
    """The factors of B and a bias for each projection, and A once for the model (or for each)."""
    del frozen
    check_seed('seed', self.seed)
    return Tuned(*(_leaves(tree, self._trained) for tree in self._declared(sites)))

  def constants(self, sites):
    """A, where it is not trained."""
    if self.learn_a:
      return Tuned()
    fixed = (_leaves(tree, lambda name: not self._trained(name)) for tree in self._declared(sites))
    return init(Tuned(*fixed), jax.random.key(self.seed))

  def edit(self, x, y, p, shared, here=Here()):
    """y + up(activation(down(y)))."""
    del x, here
    return self._module(y.shape[-1]).apply({'params': p}, y, *_per_projection(shared))

  def _declared(self, sites):
    """All arrays, A too whether or not it is trained."""
    if self.share_a and self.share_b and not self.bias:
      raise ConfigError(
        'No site would have an array of its own.',
        where='share_a, share_b, bias',
        expected='a bias, or something that is not shared',
      )
    hits = match(sites, self.where, self.encoder_layers, self.decoder_layers)
    shared = self._shared({site.fan_out for site in hits.values()})
    arrays = jax.tree.map(lambda s: jnp.zeros(s.shape), shared, is_leaf=is_spec)
    inputs = _per_projection(arrays)
    return Tuned(
      {path: declare(self._module(s.fan_out), s, *inputs) for path, s in hits.items()}, shared
    )

  def _shared(self, sizes):
    """What all sites share: A under its own name, B under that of its projection."""
    if self.share_b and len(sizes) > 1:
      raise ConfigError(
        'Sites of different sizes cannot share B.',
        where='share_b',
        expected='a pattern `where` whose sites have outputs of one size',
        got=f'{self.where!r}, whose sites have outputs of {sorted(sizes)}',
      )
    size, a_range, b_range = min(sizes), *self._ranges()
    width = bottleneck_width(size, self.width, self.reduction)
    a, down = shapes(size, width, self.n, self.rank, self.factorized_a)
    _, up = shapes(width, size, self.n, self.rank, self.factorized_a)
    out = _specs(a, a_initialiser(self.a_init, a_range)) if self.share_a else {}
    if self.share_b:
      init = b_initialiser(self.b_init, b_range)
      out |= {'down': _specs(down, init), 'up': _specs(up, init)}
    return out

  def _ranges(self):
    """a_range and b_range, as published where they are None."""
    a = 0.01 if not self.share_a else 1.0 if self.a_init == 'uniform' else 1e-4
    b = 0.01 if self.share_b else 1e-4
    return a if self.a_range is None else self.a_range, b if self.b_range is None else self.b_range

  def _trained(self, name):
    return self.learn_a or not name.startswith('a')

  def _module(self, features):
    keys = 'n', 'rank', 'factorized_a', 'a_init', 'b_init', 'bias', 'route'
    options = {key: getattr(self, key) for key in keys}
    options['a_range'], options['b_range'] = self._ranges()
    # No parent: the module is made while T5 runs, but is no part of it.
    layer = functools.partial(HypercomplexDense, **options, parent=None)
    width = bottleneck_width(features, self.width, self.reduction)
    return Bottleneck(layer(width), layer(features), self.activation, parent=None)


def _per_projection(shared):
  """The arguments of the projection down and of that up."""
  a = {name: array for name, array in shared.items() if name not in ('down', 'up')}
  return [({**a, **shared[name]} if name in shared else a,) for name in ('down', 'up')]


def _specs(shapes, init):
  return {name: Spec(shape, init, (None,) * len(shape)) for name, shape in shapes.items()}


def _leaves(tree, keep):
  """A nested dict without the leaves whose own name `keep` refuses."""
  flat = traverse_util.flatten_dict(tree)
  return traverse_util.unflatten_dict({k: v for k, v in flat.items() if keep(k[-1])})
