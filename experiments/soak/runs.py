"""What a small run begins with, and what it leaves."""

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np

from compacter_jax import adapter_file, t5
from compacter_jax.checkpoints import arrays, layout, manifest
from experiments import folders, notes

ROOT = Path(__file__).parents[2]
# Differ from run to run whatever happens.
SPEEDS = 'examples_per_second', 'seconds_per_step', 'waited'
SAME = 'validation', 'test', 'intervals', 'answers', 'position'
BATCH = 8


def save_base(folder: Path) -> Path:
  """A tiny T5 with the vocabulary that is shipped."""
  cfg = t5.Config(
    vocab=8_192, d_model=32, d_kv=8, d_ff=16, heads=2, encoder_layers=1, decoder_layers=1
  )
  t5.save(folder, cfg, t5.random_weights(cfg, jax.random.key(0)))
  shutil.copy(t5.resolve('nano') / 'spiece.model', folder)
  return folder


def last_state(checkpoints: Path) -> dict[str, bytes]:
  """The arrays of the newest checkpoint by path, the optimizer's too, to the bit."""
  step = checkpoints / str(max(layout.look(checkpoints).steps))
  tree = manifest.read(step / manifest.NAME).tree
  like = [jax.ShapeDtypeStruct(tuple(shape), dtype) for _, shape, dtype in tree]
  found = arrays.read(step / layout.ARRAYS, range(len(like)), like)
  return {path: np.asarray(array).tobytes() for (path, _, _), array in zip(tree, found)}


@dataclasses.dataclass(frozen=True)
class Left:
  """What a run left that has ended.

  Attributes:
    notes: the lines of metrics.jsonl but for speeds. arrays: the adapter's bytes. told: results.
    state: see `last_state`.
  """

  notes: list[dict[str, Any]]
  arrays: bytes
  told: dict[str, Any]
  state: dict[str, bytes]

  @classmethod
  def by(cls, folder: Path) -> 'Left':
    """Reads the folder of a run that has ended."""
    lines = map(json.loads, (folder / notes.LINES).read_text().splitlines())
    rows = [{k: v for k, v in line.items() if k not in SPEEDS} for line in lines]
    told = json.loads((folder / folders.RESULTS).read_text())
    adapter = (folder / folders.ADAPTER / adapter_file.ARRAYS).read_bytes()
    state = last_state(folder / folders.CHECKPOINTS)
    return cls(rows, adapter, {name: told[name] for name in SAME}, state)

  def lost_and_twice(self, whole: 'Left') -> tuple[int, int]:
    """Examples whose step this run has not noted, and those whose step it has noted again."""
    mine, its = (Counter(n['step'] for n in each.notes if 'loss' in n) for each in (self, whole))
    lost, twice = its - mine, mine - its
    return lost.total() * BATCH, twice.total() * BATCH
