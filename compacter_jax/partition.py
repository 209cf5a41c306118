"""Where activations lie while T5 runs under a mesh, and weights where they are read for them."""

import math

import jax
from jax import Array
from jax.sharding import PartitionSpec

BATCH = 'data', 'fsdp'  # axes of the mesh that the rows of a batch are split over
TENSOR = 'tensor'  # the axis that splits a table of embeddings by its rows


def over_rows(x: Array) -> Array:
  """Splits the first dimension over the mesh that is set (`jax.set_mesh`), if one is; x: [B,...].

  Without it XLA may split activations as it does weights, and move them instead of those. Rows
  that cannot be split evenly stay as they are.
  """
  sizes = jax.sharding.get_abstract_mesh().shape
  if not all(axis in sizes for axis in BATCH):
    return x
  if x.shape[0] % math.prod(sizes[axis] for axis in BATCH):
    return x
  return jax.lax.with_sharding_constraint(x, PartitionSpec(BATCH))


def for_lookup(table: Array) -> Array:
  """A table of embeddings [V,D] as rows of a batch read it: split over `tensor`, if at all.

  Weights lie over `fsdp` too, as rows of a batch do. XLA would look up ids of the whole batch in
  each part, and move [B,T,D] instead of the table.
  """
  if TENSOR not in jax.sharding.get_abstract_mesh().shape:
    return table
  return jax.lax.with_sharding_constraint(table, PartitionSpec(TENSOR))
