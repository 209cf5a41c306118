"""Train some of T5's own weights; '.*' is full fine-tuning.

The paper trains T5's layer norms with every adapter (Karimi Mahabadi et al. 2021, section 5); here
that is a method of its own, to be chained.
"""

import dataclasses

import jax.numpy as jnp

from compacter_jax import patterns
from compacter_jax.errors import ConfigError
from compacter_jax.method import Method, Site, Spec, Tuned, match
from compacter_jax.weights import whole


@dataclasses.dataclass(frozen=True)
class Unfreeze(Method):
  """Weights of T5 whose whole path matches `where`, trained in float32 from where they stand.

  Attributes:
    where: pattern of the weights.
    encoder_layers, decoder_layers: which layers, from 0; None is all. Where the lowest layers of
      the encoder are left out, nothing is differentiated below the first that is trained.
  """

  where: str = '.*'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None

  def specs(self, sites, frozen):
    """One array for each matching weight, or for each run of its layers."""
    del sites
    return Tuned(weights={path: _spec(path, frozen) for path in self._paths(frozen)})

  def weights(self, frozen, p):
    """The tuned weights instead of the frozen ones."""
    return {**frozen, **p}

  def superseded(self, frozen):
    """All that are tuned in every layer."""
    return [path for path in self._paths(frozen) if path in frozen]

  def _paths(self, frozen):
    pattern = patterns.compiled(self.where)
    hits = [path for path in frozen if pattern.fullmatch(path)]
    if not hits:
      raise ConfigError(
        f'No weight of T5 matches {self.where!r}.',
        expected='a pattern that matches the whole of at least one path',
        got=repr(self.where),
        fix='the weights are:\n    ' + '\n    '.join(sorted(frozen)),
      )
    depth = lambda path: frozen[path].shape[0] if '/layers/' in path else None
    places = {path: Site(path, 0, 0, depth(path)) for path in hits}
    return list(match(places, '.*', self.encoder_layers, self.decoder_layers))


def _spec(path, frozen):
  stack, rows = whole(path)
  weight, layered = frozen[stack], '/layers' in path
  shape = weight.shape if rows is ... else (rows.stop - rows.start, *weight.shape[1:])
  # A copy: what is tuned is donated to the training step, what is frozen must outlive it.
  init = lambda key, shape: jnp.array(weight[rows], jnp.float32, copy=True)
  return Spec(shape, init, ('layer',) * layered + (None,) * (len(shape) - layered))
