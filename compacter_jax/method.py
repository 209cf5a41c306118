"""What a parameter-efficient method is: arrays declared as data, plus a few pure functions.

Flax owns what is frozen, a separate tree owns what is tuned. A method declares its arrays as Specs
at Sites of T5; everything else (count, bytes, sharding, file, gradient) follows from the
declaration. Glossary of shapes: B batch, S source length, T target length, D d_model, L layers.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from compacter_jax import patterns, settings
from compacter_jax.errors import ConfigError
from compacter_jax.weights import Flat, merged

Tree = Any


class Spec(NamedTuple):
  """One trainable array, before it exists.

  Attributes:
    shape: its shape.
    init: (key, shape) -> array of float32.
    axes: the logical name of each dimension ('layer', 'embed', 'heads', 'mlp', 'vocab') or None.
  """

  shape: tuple[int, ...]
  init: Callable[[Array, tuple[int, ...]], Array]
  axes: tuple[str | None, ...]


class Site(NamedTuple):
  """One module of T5, named by its path in the parameter tree.

  Attributes:
    path: 'decoder/layers/cross_attention/q', or 'encoder/layers[5:12]/ffn' for some layers only.
    fan_in, fan_out: the last dimension of the module's input and output.
    depth: how many layers are stacked along the leading axis; None outside of the layers.
  """

  path: str
  fan_in: int
  fan_out: int
  depth: int | None

  def spec(self, shape: tuple[int, ...], init, axes: tuple[str | None, ...] | None = None) -> Spec:
    """A Spec of `shape` in each of this site's layers; axes default to None (replicated)."""
    axes = axes or (None,) * len(shape)
    if self.depth is None:
      return Spec(shape, init, axes)
    return Spec((self.depth, *shape), init, ('layer', *axes))


class Here(NamedTuple):
  """What a module tells an edit beyond its input and output.

  Attributes:
    weight: makes the module's kernel [fan_in, fan_out], if it is a product with one.
    key: draws the dropout of this site, layer and step; None while not training.
  """

  weight: Callable[[], Array] | None = None
  key: Array | None = None


class Tuned(NamedTuple):
  """Everything a method trains (or, holding Specs, would train)."""

  site: Tree = {}  # {path: arrays [L, ...]}, handed to `edit` layer by layer
  shared: Tree = {}  # one copy for the whole model
  prompt: Tree = {}  # handed to `prompt`
  weights: Tree = {}  # handed to `weights`


@dataclasses.dataclass(frozen=True)
class Method:
  """The identity. A concrete method overrides what it changes and is never subclassed.

  A method is a frozen dataclass, hence hashable: it is part of the key of every compiled program.

  Raises ConfigError for a field of the wrong type; lists become tuples, whole numbers floats.
  """

  def __post_init__(self):
    settings.conform(self, type(self).__name__)

  def prepare(self, tokenize: Callable[[str], Sequence[int]], labels: Sequence[str]) -> 'Method':
    """The method once it is known what is learned: before anything is declared, texts become ids.

    tokenize: a text's ids, with no end token. labels: the answers of the task, () if numbers.
    """
    del tokenize, labels
    return self

  def specs(self, sites: Mapping[str, Site], frozen: Mapping[str, Any]) -> Tuned:
    """Declares what is trained.

    sites: every place a method may edit, by path. frozen: T5's weights, or their shapes.
    """
    del sites, frozen
    return Tuned()

  def constants(self, sites: Mapping[str, Site]) -> Tuned:
    """Arrays that are never trained or stored: a pure function of the method's fields (a seed).

    They are laid beside the tuned arrays before `edit`, `prompt` and `weights` see those.
    """
    del sites
    return Tuned()

  def edit(self, x: Array, y: Array, p: Tree, shared: Tree, here: Here = Here()) -> Array:
    """The new output of a site, given its input x, plain output y and this layer's arrays p."""
    del x, p, shared, here
    return y

  def attend(self, keys: Array, values: Array, p: Tree, shared: Tree) -> tuple[Array, Array]:
    """Lengthens what an attention looks at.  keys, values: [B,H,T,K] -> the same, T longer.

    What is new stands in front, is seen by every query and has no position. p: the arrays of the
    attention's own site ('.../self_attention').
    """
    del p, shared
    return keys, values

  def prompt(self, x: Array, mask: Array, p: Tree) -> tuple[Array, Array]:
    """Lengthens the encoder's input.  x: [B,S,D], mask: [B,S] -> the same, S longer."""
    del p
    return x, mask

  def weights(self, frozen: Flat, p: Tree) -> Flat:
    """The weights that T5 runs on, at every step.

    Weights it leaves alone must be handed on as they are, the same objects: T5 tells by that
    which ones take no gradient. Those of some layers only have a run of layers in their path,
    'encoder/layers[5:12]/ffn/wi/kernel', and are laid over the whole.
    """
    del p
    return frozen

  def superseded(self, frozen: Mapping[str, Any]) -> Collection[str]:
    """Paths of frozen weights that `weights` replaces outright, so that nobody holds them twice."""
    del frozen
    return ()

  def fold(self, frozen: Flat, tuned: Tuned) -> Flat:
    """Plain T5 weights that compute the same function, once, for serving.

    Raises:
      TypeError: no weights of the plain T5 do; the message says why.
    """
    if jax.tree.leaves((tuned.site, tuned.prompt)):
      raise TypeError(f'{self} edits activations: no weights of the plain T5 compute the same.')
    return merged(self.weights(frozen, tuned.weights))


def match(
  sites: Mapping[str, Site],
  where: str,
  encoder_layers: Collection[int] | None = None,
  decoder_layers: Collection[int] | None = None,
) -> dict[str, Site]:
  """Sites whose whole path matches the pattern `where`, in the given layers of each stack.

  Each unbroken run of layers becomes a site of its own, so that layers left out cost nothing.
  Layers count from 0; None means all, an empty collection none.

  Raises:
    ConfigError: nothing matches, no layer is left, or one does not exist.
  """
  pattern = patterns.compiled(where)
  hits = {path: site for path, site in sites.items() if pattern.fullmatch(path)}
  if not hits:
    raise ConfigError(
      f'No site of T5 matches {where!r}.',
      expected='a pattern that matches the whole of at least one path',
      got=repr(where),
      fix='the sites are:\n    ' + '\n    '.join(sorted(sites)),
    )
  chosen = {'encoder': encoder_layers, 'decoder': decoder_layers}
  out = {}
  for path, site in hits.items():
    stack = path.partition('/')[0]
    layers = chosen.get(stack)
    if site.depth is None or layers is None:
      out[path] = site
      continue
    for start, stop in _runs(f'{stack}_layers', layers, site.depth):
      part = site if stop - start == site.depth else _part(site, start, stop)
      out[part.path] = part
  if not out:
    raise ConfigError(
      f'No layer is left of the sites that match {where!r}.',
      where='encoder_layers, decoder_layers',
      expected='at least one layer',
      got=f'{encoder_layers}, {decoder_layers}',
    )
  return out


def match_products(
  sites: Mapping[str, Site],
  frozen: Mapping[str, Any],
  where: str,
  encoder_layers: Collection[int] | None = None,
  decoder_layers: Collection[int] | None = None,
) -> dict[str, Site]:
  """As `match`, for methods that add to a kernel.  Raises ConfigError if a site has none."""
  hits = match(sites, where, encoder_layers, decoder_layers)
  products = [path for path in sites if f'{path}/kernel' in frozen]
  for path in match(sites, where):
    if path not in products:
      raise ConfigError(
        f'{path} is no product with a kernel.',
        where='where',
        expected='a pattern whose sites have kernels',
        got=repr(where),
        fix='the sites with kernels are:\n    ' + '\n    '.join(sorted(products)),
      )
  return hits


def _part(site: Site, start: int, stop: int) -> Site:
  path = site.path.replace('/layers/', f'/layers[{start}:{stop}]/')
  return site._replace(path=path, depth=stop - start)


def _runs(field: str, layers: Collection[int], depth: int) -> list[tuple[int, int]]:
  """Unbroken runs of layers as (start, stop)."""
  absent = [i for i in layers if not 0 <= i < depth]
  if absent:
    raise ConfigError(
      f'There is no layer {absent[0]} in this stack.',
      where=field,
      expected=f'layers from 0 to {depth - 1}',
      got=str(list(layers)),
    )
  starts = [i for i in sorted(set(layers)) if i - 1 not in layers]
  stops = [i + 1 for i in sorted(set(layers)) if i + 1 not in layers]
  return list(zip(starts, stops, strict=True))


def is_spec(x: Any) -> bool:
  """Whether x is a Spec: the `is_leaf` of trees of declarations."""
  return isinstance(x, Spec)


def declare(module: nn.Module, site: Site, *inputs: Any) -> Tree:
  """The parameters of a Flax module grafted onto a site, one set per layer, none made yet.

  module: called with an array [..., site.fan_out] and then `inputs`.
  """

  every = functools.partial(_drawn, module, site.fan_out, site.depth, inputs=inputs)

  def spec(path, leaf):
    init = lambda key, shape: dict(jax.tree_util.tree_leaves_with_path(every(key)))[path]
    return site.spec(leaf.shape[site.depth is not None :], init)

  return jax.tree_util.tree_map_with_path(spec, jax.eval_shape(every, jax.random.key(0)))


# Compiled once for all arrays and all sites that are alike; op by op it takes seconds.
@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _drawn(module: nn.Module, fan_in: int, depth: int | None, key: Array, inputs: Any) -> Tree:
  """The module's parameters, drawn for each of `depth` layers."""
  make = lambda key: module.init(key, jnp.zeros((1, fan_in)), *inputs)['params']
  return make(key) if depth is None else jax.vmap(make)(jax.random.split(key, depth))


def init(specs: Tuned, key: Array) -> Tuned:
  """Makes the declared arrays, each from a key of its own."""
  leaves, treedef = jax.tree.flatten(specs, is_leaf=is_spec)
  keys = jax.random.split(key, max(len(leaves), 1))
  return treedef.unflatten([spec.init(k, spec.shape) for k, spec in zip(keys, leaves)])


def count(specs: Tree) -> int:
  """How many numbers are declared."""
  return sum(math.prod(spec.shape) for spec in jax.tree.leaves(specs, is_leaf=is_spec))


def fields(method: Method) -> dict[str, Any]:
  """The settings of a method by name, as a config or an adapter file holds them."""
  return {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}
