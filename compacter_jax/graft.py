"""A method and its arrays, as T5 sees them: all that the network knows of the outside."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping

import jax
from flax import struct
from jax import Array

from compacter_jax.method import Here, Method, Site, Tree, Tuned
from compacter_jax.weights import LAYERED, Flat


@dataclasses.dataclass(frozen=True)
class Hook:
  """What a method does to the modules of one layer, or to those outside of the layers.

  Attributes:
    sites: the arrays of each edited module by its path.
    shared: the arrays that all sites share.
    key: draws the method's own dropout; None while not training.
  """

  method: Method
  sites: Mapping[str, Tree]
  shared: Tree
  key: Array | None = None

  def __call__(
    self, path: str, x: Array, y: Array, weight: Callable[[], Array] | None = None
  ) -> Array:
    """The new output of the module at `path`.

    x: its input, y: its plain output, weight: makes its kernel if it has one.
    """
    if not self.edits(path):
      return y
    own = None if self.key is None else jax.random.fold_in(self.key, zlib.crc32(path.encode()))
    return self.method.edit(x, y, self.sites[path], self.shared, Here(weight, own))

  def attend(self, path: str, keys: Array, values: Array) -> tuple[Array, Array]:
    """What the attention at `path` looks at.  keys, values: [B,H,T,K] -> the same or longer."""
    if not self.edits(path):
      return keys, values
    return self.method.attend(keys, values, self.sites[path], self.shared)

  def edits(self, path: str) -> bool:
    """Whether anything is changed at the module at `path`."""
    return path in self.sites


@struct.dataclass
class Graft:
  """The hook table of T5 is the tuned tree: a site with arrays is edited, any other left alone.

  Attributes:
    method, tuned: what edits, and its arrays by site.
    runs: weights of T5 that some layers have of their own, by path with the run of layers.
  """

  method: Method = struct.field(pytree_node=False, default=Method())
  tuned: Tuned = Tuned()
  runs: Flat = struct.field(default_factory=dict)

  def segments(self, stack: str, depth: int) -> list[tuple[int, int]]:
    """Cuts a stack's layers into runs (start, stop) in which every layer has the same sites."""
    cuts = {0, depth}
    for path in (*self.tuned.site, *self.runs):
      where = LAYERED.fullmatch(path)
      if where and where['stack'] == stack and where['start']:
        cuts |= {int(where['start']), int(where['stop'])}
    edges = sorted(cuts)
    return list(zip(edges[:-1], edges[1:], strict=True))

  def layers(self, stack: str, start: int, stop: int) -> dict[str, Tree]:
    """Arrays [stop - start, ...] of the layers of one segment, by path within the block."""
    out: dict[str, Tree] = {}
    for path, arrays in _within(self.tuned.site, stack, start, stop):
      out[path] = out.get(path, {}) | arrays
    return out

  def weights(self, stack: str, start: int, stop: int) -> Flat:
    """The weights that the layers of one segment have of their own, by path within the block."""
    return dict(_within(self.runs, stack, start, stop))

  def hook(self, layer: Mapping[str, Tree], key: Array | None = None) -> Hook:
    """The hook of one layer.  layer: this layer's arrays by path within the block."""
    return Hook(self.method, layer, self.tuned.shared, key)

  def outer_hook(self, key: Array | None = None) -> Hook:
    """The hook of the modules outside of the layers, by their whole path."""
    return self.hook(self.tuned.site, key)

  def prompt(self, x: Array, mask: Array) -> tuple[Array, Array]:
    """Lengthens the encoder's input as the method says.  x: [B,S,D], mask: [B,S]."""
    return self.method.prompt(x, mask, self.tuned.prompt)


def _within(arrays: Mapping[str, Tree], stack: str, start: int, stop: int):
  """(path within the block, arrays of these layers) for all that covers a segment of the stack."""
  for path, each in arrays.items():
    where = LAYERED.fullmatch(path)
    if where and where['stack'] == stack:
      first, last = int(where['start'] or 0), int(where['stop'] or stop)
      if first <= start and stop <= last:
        cut = lambda a, first=first: _cut(a, start - first, stop - first)
        yield where['path'], jax.tree.map(cut, each)


def _cut(array: Array, start: int, stop: int) -> Array:
  return array if stop - start == len(array) else array[start:stop]


def graft(method: Method, tuned: Tuned, sites: Mapping[str, Site]) -> Graft:
  """Lays a method's constants beside its tuned arrays and grafts both."""
  return Graft(method, Tuned(*map(_overlay, tuned, method.constants(sites))))


def _overlay(a: Tree, b: Tree) -> Tree:
  """The union of two nested dicts with no leaf in common."""
  if not b:
    return a
  return {**a, **{k: _overlay(a[k], v) if k in a else v for k, v in b.items()}}
