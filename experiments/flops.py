"""What a function computes, counted from its program before it is compiled."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params


def count_flops(function: Callable[..., Any], *args: Any, turns: int | None = None) -> int:
  """Floating-point operations of all products of matrices, two for each pair of numbers.

  args: arrays, or their `jax.ShapeDtypeStruct`s. A loop counts as often as it turns; where one of
  several branches runs, the dearest counts. All else T5 does is next to nothing beside products.
  turns: of loops that do not tell it, such as that of decoding.
  """
  return _of(jax.make_jaxpr(function)(*args).jaxpr, turns)


def _of(jaxpr: Any, turns: int | None) -> int:
  total = 0
  for eqn in jaxpr.eqns:
    name = eqn.primitive.name
    inner = [_of(each, turns) for each in jaxprs_in_params(eqn.params)]
    if name == 'dot_general':
      (contracted, _), _ = eqn.params['dimension_numbers']
      shape = eqn.invars[0].aval.shape
      total += 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(shape[i] for i in contracted)
    elif name == 'scan':
      total += eqn.params['length'] * sum(inner)
    elif name == 'cond':
      total += max(inner, default=0)
    elif name == 'while':
      if turns is None:
        raise ValueError('a loop without a known number of turns')
      total += turns * sum(inner)
    else:
      total += sum(inner)
  return total
