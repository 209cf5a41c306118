"""Parameter-efficient fine-tuning of T5 in JAX: Compacter, its baselines and its successors.

    cfg, frozen = compacter_jax.t5.load('t5-base')
    model = compacter_jax.Model(cfg, Compacter(n=4))
    tuned = model.init(jax.random.key(0), frozen)

What is imported here is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = '0.1.0'

_HOMES = {
  'Model': ('model', 'Model'),
  'chain': ('chaining', 'chain'),
  'load': ('adapter_file', 'load'),
  'save': ('adapter_file', 'save'),
  'fingerprint': ('adapter_file', 'fingerprint'),
  'data': ('data', None),
  'methods': ('methods', None),
  't5': ('t5', None),
}
__all__ = ['Model', 'chain', 'data', 'fingerprint', 'load', 'methods', 'save', 't5']

if TYPE_CHECKING:
  from compacter_jax import data, methods, t5
  from compacter_jax.adapter_file import fingerprint, load, save
  from compacter_jax.chaining import chain
  from compacter_jax.model import Model


def __getattr__(name: str) -> Any:
  if name not in _HOMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  home, attribute = _HOMES[name]
  module = importlib.import_module(f'{__name__}.{home}')
  value = module if attribute is None else getattr(module, attribute)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  return sorted([*globals(), *_HOMES])
