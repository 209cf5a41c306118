"""All that a training run keeps on devices, laid out on a mesh."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from compacter_jax import sharding, train
from compacter_jax.method import Tuned
from compacter_jax.model import Model
from compacter_jax.weights import Flat


class Placement:
  """Where the arrays of a model lie on a mesh.

  Attributes:
    mesh: to be set (`jax.set_mesh`) while a step or a generation is traced.
    ways: among how many devices the rows of a batch are split.
    share: which part of the rows this process gives, and of how many.
  """

  def __init__(self, mesh: Mesh, model: Model, frozen: Flat):
    """frozen: all of T5's weights, or anything with their shapes.

    Raises ConfigError where the mesh does not divide an array, with the sizes that would.
    """
    self.mesh, self.ways, self.share = mesh, sharding.ways_of(mesh), sharding.share(mesh)
    init = lambda weights: model.init(jax.random.key(0), weights)
    self._shapes = jax.eval_shape(init, dict(frozen))
    self._tuned = sharding.shardings(mesh, model.specs(frozen), self._shapes)
    sharding.shardings(mesh, sharding.t5_axes(frozen), dict(frozen))  # raises at once

  def weights(self, frozen: Flat) -> Flat:
    """Frozen weights on the mesh."""
    return sharding.shard(self.mesh, sharding.t5_axes(frozen), dict(frozen))

  def tuned(self, tuned: Tuned) -> Tuned:
    """What is trained on the mesh."""
    return sharding.lay(tuned, self._tuned)

  def state(self, tuned: Tuned, optimizer: optax.GradientTransformation, seed: int) -> train.State:
    """The state before the first step, on the mesh."""
    begin = jax.jit(
      lambda tuned: train.start(tuned, optimizer, seed), out_shardings=self.lies(optimizer)
    )
    return begin(self.tuned(tuned))

  def like(self, optimizer: optax.GradientTransformation) -> train.State:
    """The shapes of a state and where they lie, to read one from a checkpoint without making it."""
    shapes = jax.eval_shape(lambda tuned: train.start(tuned, optimizer), self._shapes)
    struct = lambda s, lies: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=lies)
    return jax.tree.map(struct, shapes, self.lies(optimizer))

  def lies(self, optimizer: optax.GradientTransformation) -> train.State:
    """A sharding for each array of a state."""
    whole = NamedSharding(self.mesh, PartitionSpec())
    state = jax.eval_shape(optimizer.init, self._shapes)
    # Factored statistics have other shapes than the arrays they are of.
    same = lambda s, array, lies: lies if s.shape == array.shape else whole
    args = optimizer.init, same, state, self._shapes, self._tuned
    opt = optax.tree_map_params(*args, transform_non_params=lambda _: whole)
    return train.State(self._tuned, opt, whole, whole)  # pyright: ignore

  def batch(self, batch: Mapping[str, Any]) -> dict[str, Array]:
    """A batch on the mesh, its rows split; of several processes each gives its `share`."""
    return sharding.shard_batch(self.mesh, batch)

  def table(self, table: np.ndarray) -> Array:
    """A table that every process has whole, its rows split: a multiple of `ways`."""
    lies = NamedSharding(self.mesh, PartitionSpec(sharding.BATCH))
    return jax.make_array_from_callback(table.shape, lies, lambda part: table[part])
