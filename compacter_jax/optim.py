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


def schedule(optim: Optim, steps: int) -> optax.Schedule:
  """Step, from 0, -> learning rate; the rate of the first step is 0 if there is a warmup."""
  rest, knee = max(steps - optim.warmup, 1), max(optim.warmup, 1)
  after = {
    'linear': optax.linear_schedule(optim.rate, 0.0, rest),
    'cosine': optax.cosine_decay_schedule(optim.rate, rest),
    'constant': optax.constant_schedule(optim.rate),
    'inverse_sqrt': lambda step: optim.rate * jnp.sqrt(knee / jnp.maximum(step + knee, knee)),
  }[optim.schedule]
  if not optim.warmup:
    return after
  rise = optax.linear_schedule(0.0, optim.rate, optim.warmup)
  return optax.join_schedules([rise, after], [optim.warmup])


def build(optim: Optim, steps: int) -> optax.GradientTransformation:
  """The transform of gradients for a run of that many steps.

  The peak rate is part of its state, not of its program: runs that differ in it share one.
  """
  shape = schedule(dataclasses.replace(optim, rate=1.0), steps)
  parts = [optax.clip_by_global_norm(optim.clip)] if optim.clip else []
  if optim.optimizer == 'adamw':
    parts += [optax.adamw(shape, optim.b1, optim.b2, optim.epsilon, weight_decay=optim.decay)]
  else:
    parts += [optax.adafactor(shape)]
  parts += [_times_rate(optim.rate)]
  if optim.optimizer == 'adafactor' and optim.decay:
    parts += [optax.add_decayed_weights(-optim.decay)]  # as optax has it: not times the rate
  return optax.chain(*parts)


class Rate(NamedTuple):
  """The peak rate, kept while a run lasts."""

  rate: Array


def _times_rate(rate: float) -> optax.GradientTransformation:
  def update(updates: Any, state: Rate, params: Any = None) -> tuple[Any, Rate]:
    return jax.tree.map(lambda u: u * state.rate.astype(u.dtype), updates), state

  return optax.GradientTransformation(lambda params: Rate(jnp.float32(rate)), update)  # pyright: ignore
