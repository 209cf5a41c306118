"""Arrays to disk and back through Orbax, which knows how they lie on devices and hosts.

Orbax sees a flat dictionary of numbered arrays: names with dots collide in it, and empty arrays and
containers are not for it. Why its `CheckpointManager` is not used is in docs/decisions.md. Folders
are made in order, not in the background: where that fails, threads that wait for them keep the
interpreter from ending.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SECONDS = 600  # after which hosts that wait for each other give up
# Orbax takes them by the wall clock, which leaps where a machine was asleep or its clock is set: a
# process that waits for nobody else gives itself a century.
ALONE = 100 * 365 * 86_400


def copied(arrays: Sequence[jax.Array]) -> list[Any]:
  """The arrays in the host's memory, so that training may give up its own.

  Arrays that span several hosts are left to Orbax, which copies them when the writing begins.
  """
  aliases = [_alias(array) if array.is_fully_addressable else None for array in arrays]
  for alias in aliases:
    if alias is not None:
      alias.copy_to_host_async()
  return [array if alias is None else _host(alias) for array, alias in zip(arrays, aliases)]


def _alias(array: jax.Array) -> jax.Array:
  """The same buffers: an array keeps its copy on the host while it lives, and this one goes."""
  buffers = [shard.data for shard in array.addressable_shards]
  return jax.make_array_from_single_device_arrays(array.shape, array.sharding, buffers)


def _host(alias: jax.Array) -> np.ndarray:
  value = np.asarray(alias)
  # Where devices share the host's memory this is no copy yet.
  own = all(device.platform != 'cpu' for device in alias.devices())
  return value if own else value.copy()


def write(folder: Path, arrays: Sequence[Any]) -> Callable[[], None]:
  """Begins to write arrays into a new folder; the result waits for the end and raises its errors.

  All processes take part.
  """
  import orbax.checkpoint as ocp

  items = {_key(place): array for place, array in enumerate(arrays) if array.size}
  if not items:
    return lambda: None
  seconds = SECONDS if jax.process_count() > 1 else ALONE
  options = ocp.options.AsyncOptions(timeout_secs=seconds, create_directories_asynchronously=False)
  writer = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler(), async_options=options)
  writer.save(folder, args=ocp.args.PyTreeSave(items))
  return writer.close


def read(folder: Path, places: Sequence[int], like: Sequence[Any]) -> list[jax.Array]:
  """The arrays in those places, laid out as those of `like`, whose shapes and dtypes they have.

  Where `like` has no sharding, or is not bound to its device, neither is the result.
  """
  import orbax.checkpoint as ocp

  items, wanted = {}, {}
  for place, leaf in zip(places, like, strict=True):
    if not leaf.size:
      continue
    items[_key(place)] = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    wanted[_key(place)] = (
      ocp.ArrayRestoreArgs(sharding=leaf.sharding, global_shape=leaf.shape, dtype=leaf.dtype)
      if _bound(leaf)
      else ocp.RestoreArgs(restore_type=np.ndarray, dtype=leaf.dtype)
    )
  found: dict[str, Any] = {}
  if items:
    args = ocp.args.PyTreeRestore(items, restore_args=wanted)
    with contextlib.closing(ocp.Checkpointer(ocp.PyTreeCheckpointHandler())) as reader:
      found = reader.restore(folder, args=args)
  return [_placed(found.get(_key(place)), leaf) for place, leaf in zip(places, like)]


def _key(place: int) -> str:
  return f'{place:06d}'


def _bound(leaf: Any) -> bool:
  return getattr(leaf, 'sharding', None) is not None and getattr(leaf, 'committed', True)


def _placed(found: Any, leaf: Any) -> jax.Array:
  if found is None:
    found = np.zeros(leaf.shape, leaf.dtype)
    return jax.device_put(found, leaf.sharding) if _bound(leaf) else jnp.asarray(found)
  return found if _bound(leaf) else jnp.asarray(found, leaf.dtype)
