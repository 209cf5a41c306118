"""A method and its arrays, as T5 sees them: all that the network knows of the outside."""

import dataclasses
import re
from collections.abc import Mapping

import jax
from flax import struct
from jax import Array

from compacter_jax.method import Method, Site, Tree, Tuned

_LAYERED = re.compile(r'(?P<stack>\w+)/layers(\[(?P<start>\d+):(?P<stop>\d+)\])?/(?P<path>.+)')


@dataclasses.dataclass(frozen=True)
class Hook:
  """What a method does to the modules of one layer, or to those outside of the layers.

  Attributes:
    sites: the arrays of each edited module by its path.
    shared: the arrays that all sites share.
  """

  method: Method
  sites: Mapping[str, Tree]
  shared: Tree

  def __call__(self, path: str, x: Array, y: Array) -> Array:
    """The new output of the module at `path`.  x: its input, y: its plain output."""
    return self.method.edit(x, y, self.sites[path], self.shared) if self.edits(path) else y

  def edits(self, path: str) -> bool:
    """Whether the output of the module at `path` is changed at all."""
    return path in self.sites


@struct.dataclass
class Graft:
  """The hook table of T5 is the tuned tree: a site with arrays is edited, any other left alone."""

  method: Method = struct.field(pytree_node=False, default=Method())
  tuned: Tuned = Tuned()

  def segments(self, stack: str, depth: int) -> list[tuple[int, int]]:
    """Cuts a stack's layers into runs (start, stop) in which every layer has the same sites."""
    cuts = {0, depth}
    for site in self.tuned.site:
      where = _LAYERED.fullmatch(site)
      if where and where['stack'] == stack and where['start']:
        cuts |= {int(where['start']), int(where['stop'])}
    edges = sorted(cuts)
    return list(zip(edges[:-1], edges[1:], strict=True))

  def layers(self, stack: str, start: int, stop: int) -> dict[str, Tree]:
    """Arrays [stop - start, ...] of the layers of one segment, by path within the block."""
    out: dict[str, Tree] = {}
    for site, arrays in self.tuned.site.items():
      where = _LAYERED.fullmatch(site)
      if not where or where['stack'] != stack:
        continue
      first, last = int(where['start'] or 0), int(where['stop'] or stop)
      if first <= start and stop <= last:
        mine = jax.tree.map(lambda a, first=first: _cut(a, start - first, stop - first), arrays)
        out[where['path']] = out.get(where['path'], {}) | mine
    return out

  def hook(self, layer: Mapping[str, Tree]) -> Hook:
    """The hook of one layer.  layer: this layer's arrays by path within the block."""
    return Hook(self.method, layer, self.tuned.shared)

  def outer_hook(self) -> Hook:
    """The hook of the modules outside of the layers, by their whole path."""
    return self.hook(self.tuned.site)

  def prompt(self, x: Array, mask: Array) -> tuple[Array, Array]:
    """Lengthens the encoder's input as the method says.  x: [B,S,D], mask: [B,S]."""
    return self.method.prompt(x, mask, self.tuned.prompt)


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
