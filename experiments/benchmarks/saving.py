"""How long a checkpoint keeps the loop from its next step, and what it costs besides.

    python -m experiments.benchmarks.saving
    python -m experiments.benchmarks.saving --model=t5-base --configs compacter adapter

What a run saves: state and best arrays, in a folder of its own, kept as a run keeps them, and the
lines of metrics.jsonl brought to the disk before. A published size has random weights; all that is
trained, and the optimizer's moments, are noise, since zeros would be compressed to nothing.
Methods alternate, and every round has a save before which the last one has ended, and one that
comes at once behind another and waits for it. Prints a Markdown table:

  blocked    milliseconds from the end of a step until the loop may go on: median and worst
  own        of them those in which the loop computed; else it waited for the disk or for a core
  notes      the part that the lines of metrics.jsonl took
  at once    blocked where the save before is still being written
  safe       seconds from the begin of a save until it is on the disk, read again, and old ones gone
  verified   MB that are read and hashed in a second
  restored   seconds until a run has it back, its check included
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from compacter_jax import methods, optim, sharding, t5
from compacter_jax.checkpoints import Checkpoints, verify
from compacter_jax.hub_names import SHIPPED
from compacter_jax.model import Model
from compacter_jax.placement import Placement
from compacter_jax.t5.config import Config
from compacter_jax.weights import Flat
from experiments.configs import HERE, read_config
from experiments.guard import guarded
from experiments.notes import Notes

CELLS = ['arrays', 'MB', 'blocked', 'worst', 'own', 'notes', 'at once']
CELLS += ['safe s', 'verified MB/s', 'restored s']


def main(argv: list[str]) -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--model', default='nano', help='one that ships, or a published size')
  parser.add_argument('--configs', nargs='*', default=['compacter', 'adapter', 'full'])
  parser.add_argument('--rounds', type=int, default=20)
  parser.add_argument('--folder', help='on which disk; by default that of temporary files')
  flags = parser.parse_args(argv)
  cfg, frozen = _t5(flags.model)
  with contextlib.ExitStack() as stack:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=flags.folder)))
    found = []
    for name in flags.configs:
      method = methods.from_config(read_config(HERE / f'{name}.py').method.to_dict())
      saving = Saving(folder / name, Model(cfg, method), frozen)
      found.append(stack.enter_context(saving.claimed()))
    del frozen
    for _ in range(flags.rounds):
      for each in found:
        each.round()
    print(f'{flags.model}, {flags.rounds} rounds, {jax.devices()[0].device_kind}\n')
    for cells in ['', *CELLS], ['---', *['---:'] * len(CELLS)]:
      print(f'| {" | ".join(cells)} |')
    for name, each in zip(flags.configs, found):
      print(f'| {name} | {" | ".join(each.cells())} |', flush=True)


class Saved(NamedTuple):
  """Milliseconds of one save, as the table has them."""

  blocked: float
  own: float
  notes: float


class Saving:
  """The checkpoints of one method, as a run has them.

  Attributes:
    quiet: of each save before which the last one had ended. at_once: milliseconds of each other.
    safe: seconds until each of the first kind was safe.
  """

  def __init__(self, folder: Path, model: Model, frozen: Flat):
    self._folder, self._step = folder / 'checkpoints', 0
    self.quiet: list[Saved] = []
    self.at_once: list[float] = []
    self.safe: list[float] = []
    placement = Placement(sharding.make_mesh(devices=1), model, frozen)
    optimizer = optim.build(optim.Optim(), 100)
    state = placement.state(model.init(jax.random.key(0), frozen), optimizer, 0)
    self._arrays: Any = {'state': state, 'best': state.tuned}
    # Computed to the end: a save waits for a step that still runs, which is no time of its own.
    self._arrays = jax.block_until_ready(jax.tree.map(_noise, self._arrays))
    self._like = {'state': placement.like(optimizer), 'best': placement.like(optimizer).tuned}

  @contextlib.contextmanager
  def claimed(self) -> Iterator['Saving']:
    """Its folder claimed and one step saved: the first one imports what writes."""
    self._folder.parent.mkdir()
    checkpoints = Checkpoints(self._folder, {'seed': 0}, keep_best=0)
    with checkpoints.claim() as self._checkpoints, Notes(self._folder.parent) as self._lines:
      checkpoints.restore(self._like)
      self.save()
      checkpoints.wait()
      yield self

  def round(self) -> None:
    """A save after the last one has ended, and one that comes behind another."""
    begin = time.perf_counter()
    self.quiet.append(self.save())
    self._checkpoints.wait()
    self.safe.append(time.perf_counter() - begin)
    self.save()
    self.at_once.append(self.save().blocked)
    self._checkpoints.wait()

  def save(self) -> Saved:
    """Begins to save one more step, as a run does."""
    self._step += 1
    self._lines.add(step=self._step, loss=1.0, grad_norm=1.0, examples_per_second=100.0)
    begin, own = time.perf_counter(), time.thread_time()
    self._lines.settle()
    noted = time.perf_counter()
    about = {'notes': self._lines.count, 'notes_sha256': self._lines.sha256}
    self._checkpoints.save(self._step, self._arrays, about)
    own, ended = time.thread_time() - own, time.perf_counter()
    return Saved(1e3 * (ended - begin), 1e3 * own, 1e3 * (noted - begin))

  def cells(self) -> list[str]:
    """Its row of the table."""
    files = [file for file in self._folder.glob('[0-9]*/**/*') if file.is_file()]
    steps = len({file.relative_to(self._folder).parts[0] for file in files})
    size = sum(file.stat().st_size for file in files) / 1e6
    begin = time.perf_counter()
    found = verify(self._folder)
    checked = time.perf_counter()
    restored = self._checkpoints.restore(self._like)
    jax.block_until_ready(restored and restored.state)
    ended = time.perf_counter()
    if len(found) != steps or any(each.reason for each in found):
      raise RuntimeError(f'a step is not as it was written: {found}')
    blocked, own, notes = (statistics.median(ms) for ms in zip(*self.quiet))
    worst = max(each.blocked for each in self.quiet)
    ms = blocked, worst, own, notes, statistics.median(self.at_once)
    return [
      str(len(jax.tree.leaves(self._arrays))),
      f'{size / steps:,.1f}',
      *(f'{each:,.1f}' for each in ms),
      f'{statistics.median(self.safe):.2f}',
      f'{size / (checked - begin):,.0f}',
      f'{ended - checked:.2f}',
    ]


def _noise(array: jax.Array) -> jax.Array:
  """As large and laid out alike; floats are drawn at random, and nothing shares their memory."""
  if not jnp.issubdtype(array.dtype, jnp.floating):
    return jnp.copy(array)
  drawn = jax.random.normal(jax.random.key(array.size), array.shape, array.dtype)
  return jax.device_put(drawn, array.sharding)


def _t5(name: str) -> tuple[Config, Flat]:
  """A model that ships, or random weights of a published size."""
  if name in SHIPPED:
    return t5.load(name, 'float32')
  cfg = t5.size_named(name)
  return cfg, t5.random_weights(cfg, jax.random.key(0))


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
