"""The optimizer and its learning rate, as optax transforms."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from compacter_jax.settings import choose, within

OPTIMIZERS = 'adamw', 'adafactor'
SCHEDULES = 'linear', 'cosine', 'constant', 'inverse_sqrt'


@dataclasses.dataclass(frozen=True)
class Optim:
  """How tuned arrays are updated; the defaults are the paper's (Karimi Mahabadi et al. 2021).

  Attributes:
    optimizer: 'adamw' (decoupled decay) or 'adafactor' (Shazeer and Stern 2018).
    rate: peak learning rate.
    schedule: after the warmup 'linear' to 0, 'cosine' to 0, 'constant', or 'inverse_sqrt' in the
      step (Raffel et al. 2020, 3.1.2).
    warmup: steps over which the rate rises linearly from 0.
    decay: weight decay.
    clip: largest global norm of the gradient; 0 does not clip.
    b1, b2, epsilon: of AdamW.
  """

  optimizer: str = 'adamw'
  rate: float = 3e-3
  schedule: str = 'linear'
  warmup: int = 500
  decay: float = 0.0
  clip: float = 1.0
  b1: float = 0.9
  b2: float = 0.999
  epsilon: float = 1e-8

  def __post_init__(self):
    choose('optimizer', self.optimizer, OPTIMIZERS)
    choose('schedule', self.schedule, SCHEDULES)
    for field in 'rate', 'warmup', 'decay', 'clip':
      within(field, getattr(self, field), 0)
    for field in 'b1', 'b2':
      within(field, getattr(self, field), 0, 1 - 1e-12)
    within('epsilon', self.epsilon, 1e-30)


def schedule(optim: Optim, steps: int | Array) -> optax.Schedule:
  """Step, from 0, -> learning rate; the rate of the first step is 0 if there is a warmup.

  Written out, as optax's own take no `steps` that is an array.  steps: of the whole run.
  """
  rest, knee = jnp.maximum(steps - optim.warmup, 1), max(optim.warmup, 1)

  def rate(step):
    since = jnp.maximum(step - optim.warmup, 0)
    done = jnp.minimum(since / rest, 1.0)
    after = {
      'linear': lambda: 1.0 - done,
      'cosine': lambda: 0.5 * (1.0 + jnp.cos(jnp.pi * done)),
      'constant': lambda: jnp.ones_like(done),
      'inverse_sqrt': lambda: jnp.sqrt(knee / (since + knee)),
    }[optim.schedule]()
    return optim.rate * jnp.where(step < optim.warmup, step / knee, after)

  return rate


def build(optim: Optim, steps: int) -> optax.GradientTransformation:
  """The transform of gradients for a run of that many steps.

  The peak rate and the steps are part of its state, not of its program: runs that differ in them
  share one.
  """
  parts = [optax.clip_by_global_norm(optim.clip)] if optim.clip else []
  if optim.optimizer == 'adamw':
    parts += [optax.adamw(1.0, optim.b1, optim.b2, optim.epsilon, weight_decay=optim.decay)]
  else:
    parts += [optax.adafactor(1.0)]
  parts += [_times_rate(optim, steps)]
  if optim.optimizer == 'adafactor' and optim.decay:
    parts += [optax.add_decayed_weights(-optim.decay)]  # as optax has it: not times the rate
  return optax.chain(*parts)


class Pace(NamedTuple):
  """The peak rate and the steps of a run, kept while it lasts; how many steps were taken."""

  rate: Array
  steps: Array
  count: Array


def _times_rate(optim: Optim, steps: int) -> optax.GradientTransformation:
  peak = dataclasses.replace(optim, rate=1.0)

  def init(params: Any) -> Pace:
    return Pace(jnp.float32(optim.rate), jnp.int32(steps), jnp.int32(0))

  def update(updates: Any, state: Pace, params: Any = None) -> tuple[Any, Pace]:
    rate = state.rate * schedule(peak, state.steps)(state.count)
    scaled = jax.tree.map(lambda u: u * rate.astype(u.dtype), updates)
    return scaled, state._replace(count=optax.safe_increment(state.count))

  return optax.GradientTransformation(init, update)  # pyright: ignore
