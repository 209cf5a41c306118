"""With what a checkpoint was written: library versions and devices."""

import functools
import importlib.metadata
from collections.abc import Mapping
from typing import Any

import jax

LIBRARIES = 'compacter_jax', 'jax', 'jaxlib', 'numpy', 'flax', 'optax', 'orbax-checkpoint'


@functools.cache
def versions() -> dict[str, str]:
  """Library -> its version, where it is known."""
  found = {}
  for library in LIBRARIES:
    try:
      found[library] = importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


def topology() -> dict[str, Any]:
  """The devices and processes of this program."""
  device = jax.devices()[0]
  return {
    'platform': device.platform,
    'device_kind': device.device_kind,
    'devices': jax.device_count(),
    'processes': jax.process_count(),
  }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
  """What is no longer the same, as text; '' if all is."""
  return ', '.join(
    f'{name} {before.get(name, "absent")} -> {now.get(name, "absent")}'
    for name in sorted(before.keys() | now.keys())
    if before.get(name) != now.get(name)
  )
