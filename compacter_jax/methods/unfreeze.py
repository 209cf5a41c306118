"""Train some of T5's own weights; '.*' is full fine-tuning.

The paper trains T5's layer norms with every adapter (Karimi Mahabadi et al. 2021, section 5); here
that is a method of its own, to be chained.
"""

import dataclasses
import re

import jax.numpy as jnp

from compacter_jax.errors import ConfigError
from compacter_jax.method import Method, Spec, Tuned


@dataclasses.dataclass(frozen=True)
class Unfreeze(Method):
  """Weights of T5 whose whole path matches `where`, trained in float32 from where they stand."""

  where: str = '.*'

  def specs(self, sites, frozen):
    """One array for each matching weight."""
    del sites
    return Tuned(weights={path: self._spec(path, frozen[path]) for path in self._paths(frozen)})

  def weights(self, frozen, p):
    """The tuned weights instead of the frozen ones."""
    return {**frozen, **p}

  def superseded(self, frozen):
    """All that are tuned."""
    return self._paths(frozen)

  def _paths(self, frozen):
    hits = [path for path in frozen if re.fullmatch(self.where, path)]
    if not hits:
      raise ConfigError(
        f'No weight of T5 matches {self.where!r}.',
        expected='a pattern that matches the whole of at least one path',
        got=repr(self.where),
        fix='the weights are:\n    ' + '\n    '.join(sorted(frozen)),
      )
    return hits

  def _spec(self, path, weight):
    # A copy: what is tuned is donated to the training step, what is frozen must outlive it.
    init = lambda key, shape: jnp.array(weight, jnp.float32, copy=True)
    layered = '/layers/' in path
    return Spec(weight.shape, init, ('layer',) * layered + (None,) * (len(weight.shape) - layered))
