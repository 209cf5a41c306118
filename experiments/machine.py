"""What a run ran on: memory and versions."""

import platform
import resource
import sys
from importlib import metadata
from typing import Any

import jax

import compacter_jax as cj


def peak_bytes() -> int:
  """The largest memory so far: of the device if it tells, else of this process."""
  stats = jax.local_devices()[0].memory_stats()
  if stats:
    return stats['peak_bytes_in_use']
  unit = 1 if sys.platform == 'darwin' else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def program_bytes(compiled: Any) -> int:
  """What a compiled program holds at once: arguments, results and temporaries."""
  told = compiled.memory_analysis()
  held = told.argument_size_in_bytes + told.output_size_in_bytes - told.alias_size_in_bytes
  return held + told.temp_size_in_bytes


def versions() -> dict[str, str]:
  """Of Python and of the libraries that decide results."""
  names = 'jax', 'jaxlib', 'flax', 'optax', 'numpy'
  found = {name: metadata.version(name) for name in names}
  return {'compacter_jax': cj.__version__, 'python': platform.python_version(), **found}
