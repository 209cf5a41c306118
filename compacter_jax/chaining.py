"""Several methods at once, as optax chains transforms."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp

from compacter_jax.errors import ConfigError
from compacter_jax.method import Here, Method, Tuned, is_spec
from compacter_jax.weights import whole


@dataclasses.dataclass(frozen=True, init=False)
class chain(Method):  # noqa: N801 - reads as the function it stands for
  """Methods applied in order, e.g. `chain(norms=Unfreeze('.*norm/scale'), adapters=Compacter())`.

  The arrays of each part lie under its name: in each site, in shared, in prompt and in weights.
  """

  parts: tuple[tuple[str, Method], ...]

  def __init__(self, **parts: Method):
    for name, method in parts.items():
      if not isinstance(method, Method):
        raise ConfigError(
          'A chain is made of methods.', where=name, expected='a Method', got=repr(method)
        )
    object.__setattr__(self, 'parts', tuple(parts.items()))

  def prepare(self, tokenize, labels):
    """Prepares each part."""
    return chain(**{name: method.prepare(tokenize, labels) for name, method in self.parts})

  def specs(self, sites, frozen):
    """The declarations of all parts.  Raises ConfigError where two would train the same weight."""
    parts = {name: method.specs(sites, frozen) for name, method in self.parts}
    _check_apart({name: _replaced(part, parts[name].weights, frozen) for name, part in self.parts})
    return _nest(parts.items())

  def constants(self, sites):
    """The constants of all parts."""
    return _nest((name, method.constants(sites)) for name, method in self.parts)

  def edit(self, x, y, p, shared, here=Here()):
    """Edits y by each part in turn; all see the same plain input x.

    From the second part on y is no longer a product with the kernel, and none is handed on.
    """
    weight = here.weight
    for i, (name, method) in enumerate(self.parts):
      if name in p:
        key = None if here.key is None else jax.random.fold_in(here.key, i)
        y = method.edit(x, y, p[name], shared[name], Here(weight, key))
        weight = None
    return y

  def attend(self, keys, values, p, shared):
    """Lengthens keys and values by each part in turn."""
    for name, method in self.parts:
      if name in p:
        keys, values = method.attend(keys, values, p[name], shared[name])
    return keys, values

  def prompt(self, x, mask, p):
    """Lengthens the input by each part in turn."""
    for name, method in self.parts:
      x, mask = method.prompt(x, mask, p[name])
    return x, mask

  def weights(self, frozen, p):
    """Replaces weights by each part in turn."""
    for name, method in self.parts:
      frozen = method.weights(frozen, p[name])
    return frozen

  def superseded(self, frozen):
    """What any part replaces."""
    return {path for _, method in self.parts for path in method.superseded(frozen)}

  def fold(self, frozen, tuned):
    """Folds each part in turn; TypeError if one cannot.

    As in the forward pass, first of all come weights that are replaced; and gains on what a kernel
    reads come last, behind what is beside that kernel.
    """
    parts = [(method, _pick(tuned, name)) for name, method in self.parts]
    reads = lambda path: path.endswith('/activation')
    for method, own in parts:
      if own.weights:
        frozen = method.fold(frozen, own._replace(site={}))
    for last in False, True:
      for method, own in parts:
        if site := {path: p for path, p in own.site.items() if reads(path) == last}:
          frozen = method.fold(frozen, own._replace(site=site, weights={}))
        elif not last and not own.site and not own.weights:
          frozen = method.fold(frozen, own)  # of what has neither, as a prompt
    return frozen


def _nest(parts) -> Tuned:
  out = Tuned({}, {}, {}, {})
  for name, part in parts:
    for path, arrays in part.site.items():
      out.site.setdefault(path, {})[name] = arrays
    out.shared[name], out.prompt[name], out.weights[name] = part.shared, part.prompt, part.weights
  return out


def _replaced(method, specs, frozen) -> set[str]:
  """Paths of the weights that a method does not hand on as they are."""
  out = set()

  def run(frozen, p):
    out.update(path for path, w in method.weights(frozen, p).items() if w is not frozen.get(path))

  if specs:
    arrays = jax.tree.map(
      lambda s: jax.ShapeDtypeStruct(s.shape, jnp.float32), specs, is_leaf=is_spec
    )
    jax.eval_shape(run, dict(frozen), arrays)
  return out


def _check_apart(replaced):
  """Raises ConfigError if two parts replace the same layers of the same weight."""
  for (one, paths), (other, others) in itertools.combinations(replaced.items(), 2):
    for path, against in itertools.product(sorted(paths), sorted(others)):
      if _overlap(path, against):
        raise ConfigError(
          f'The parts {one!r} and {other!r} would both train {path}.',
          where=f'{one}, {other}',
          expected='that each weight is trained by one part',
          got=f'{path} and {against}',
          fix='leave it out of the pattern `where` or the layers of one of them',
        )


def _overlap(path: str, other: str) -> bool:
  (stack, rows), (other_stack, other_rows) = whole(path), whole(other)
  if stack != other_stack or ... in (rows, other_rows):
    return stack == other_stack
  return max(rows.start, other_rows.start) < min(rows.stop, other_rows.stop)


def _pick(tuned: Tuned, name: str) -> Tuned:
  site = {path: arrays[name] for path, arrays in tuned.site.items() if name in arrays}
  return Tuned(site, tuned.shared[name], tuned.prompt[name], tuned.weights[name])
