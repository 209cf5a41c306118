"""What a run ran on: memory and versions."""

import platform
import resource
import sys
from importlib import metadata

import jax

import compacter_jax as cj


def peak_bytes() -> int:
  """The largest memory so far: of the device if it tells, else of this process."""
  stats = jax.devices()[0].memory_stats()
  if stats:
    return stats['peak_bytes_in_use']
  unit = 1 if sys.platform == 'darwin' else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions() -> dict[str, str]:
  """Of Python and of the libraries that decide results."""
  names = 'jax', 'jaxlib', 'flax', 'optax', 'numpy'
  found = {name: metadata.version(name) for name in names}
  return {'compacter_jax': cj.__version__, 'python': platform.python_version(), **found}
