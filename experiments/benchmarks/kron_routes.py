"""The three routes through a hypercomplex layer, at the sizes of T5-base.

    python -m experiments.benchmarks.kron_routes

Times the forward and backward pass of one Compacter adapter (down, gelu, up; D 768, width 24,
rank 1). The routes alternate, so that a machine that slows down slows all; the ratio is the median
of the ratios round by round. FLOPs (of one adapter: a loop's body counts once) and temporaries (of
all) are the compiler's own account, and '-' where it gives none. Prints a Markdown table.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from compacter_jax.bottleneck import Bottleneck
from compacter_jax.hypercomplex import ROUTES, HypercomplexDense

D, WIDTH = 768, 24
HEADER = ['dtype', 'n', 'tokens', 'route', 'median us', 'x contracted', 'MFLOP', 'temp KiB']


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--n', type=int, nargs='*', default=[4, 12])
  parser.add_argument('--tokens', type=int, nargs='*', default=[64, 1024, 8192])
  parser.add_argument('--dtype', nargs='*', default=['float32'])
  parser.add_argument('--rounds', type=int, default=30)
  parser.add_argument('--layers', type=int, default=12, help='adapters run one after another')
  flags = parser.parse_args()
  print(f'{jax.devices()[0].device_kind}, {flags.layers} adapters, {flags.rounds} rounds\n')
  print(_row(HEADER), _row(['---'] * len(HEADER)), sep='\n')
  for dtype in flags.dtype:
    for n in flags.n:
      for tokens in flags.tokens:
        programs = {r: program(n, tokens, r, dtype, flags.layers) for r in ROUTES}
        for route, cells in measure(programs, flags.rounds).items():
          print(_row([dtype, n, tokens, route, *cells]), flush=True)


def program(n: int, tokens: int, route: str, dtype: str, layers: int) -> tuple[Any, tuple]:
  """The compiled gradient of `layers` adapters in a scan that share A, and its arguments."""
  layer = lambda features: HypercomplexDense(features, n, a_range=1e-4, route=route)
  adapter = Bottleneck(layer(WIDTH), layer(D))
  x = jax.random.normal(jax.random.key(0), (tokens, D), jnp.dtype(dtype))
  shared = {'a': 1e-4 * jax.random.normal(jax.random.key(1), (n, n, n))}
  make = lambda key: adapter.init(key, x, (shared,), (shared,))['params']
  params = jax.vmap(make)(jax.random.split(jax.random.key(2), layers))

  apply: Any = adapter.apply

  def loss(params, shared, x):
    body = lambda x, p: (apply({'params': p}, x, (shared,), (shared,)), None)
    return jnp.sum(jnp.square(jax.lax.scan(body, x, params)[0].astype(jnp.float32)))

  # The gradient of x too: in T5 it goes on to the layers below.
  args = params, shared, x
  return jax.jit(jax.grad(loss, (0, 1, 2))).lower(*args).compile(), args


def measure(programs: dict[str, tuple[Any, tuple]], rounds: int) -> dict[str, list[str]]:
  """The cells of each route: time, ratio to 'contracted', FLOPs, temporaries."""
  for compiled, args in programs.values():
    jax.block_until_ready(compiled(*args))
  times: dict[str, list[float]] = {route: [] for route in programs}
  repeats = max(1, round(0.01 / max(_seconds(*programs['contracted']), 1e-6)))
  for _ in range(rounds):
    for route, (compiled, args) in programs.items():
      times[route].append(_seconds(lambda *a, f=compiled: [f(*a) for _ in range(repeats)], args))
  out = {}
  for route, (compiled, _) in programs.items():
    ratios = [a / b for a, b in zip(times[route], times['contracted'], strict=True)]
    microseconds = 1e6 * statistics.median(times[route]) / repeats
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    out[route] = [
      f'{microseconds:,.0f}',
      f'{statistics.median(ratios):.2f}',
      f'{cost["flops"] / 1e6:,.1f}' if 'flops' in cost else '-',
      f'{memory.temp_size_in_bytes / 1024:,.0f}' if memory else '-',
    ]
  return out


def _seconds(f: Callable, args: tuple) -> float:
  start = time.perf_counter()
  jax.block_until_ready(f(*args))
  return time.perf_counter() - start


def _row(cells: list[Any]) -> str:
  return '| ' + ' | '.join(map(str, cells)) + ' |'


if __name__ == '__main__':
  main()
