"""A small run in a process of its own, by the command that users type, and what it leaves."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np

from compacter_jax import adapter_file, t5
from compacter_jax.checkpoints import arrays, layout, manifest
from experiments import folders, notes
from experiments.configs import HERE

ROOT = Path(__file__).parents[2]
# Differ from run to run whatever happens.
SPEEDS = 'examples_per_second', 'seconds_per_step', 'waited'
SAME = 'validation', 'test', 'intervals', 'answers', 'position'
SETTINGS = {
  'data.task': 'quickstart',
  'data.max_train': 60,  # so that a batch runs over the border of an epoch
  'data.max_validation': 16,
  'data.max_test': 16,
  'batch_size': 8,
  'accumulate': 2,
  'steps': 120,
  'eval_every': 45,
  'save_every': 10,
  'log_every': 1,  # every step leaves a line
  'optim.warmup': 5,
  'mesh.devices': 1,
}
# What a config needs on a T5 as small as this.
OF_METHODS = {'compacter': {'method.adapters.width': 8}, 'adapter': {'method.adapters.width': 8}}


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


@dataclasses.dataclass
class Start:
  """One start of the command, which appends what it says to a file.

  Attributes:
    begun: by the monotonic clock, in seconds.
  """

  process: subprocess.Popen[bytes]
  log: Path
  begun: float

  @classmethod
  def of(cls, method: str, base: Path, out: Path, cache: Path) -> 'Start':
    """Starts the run of a method's config in the folder `out`, whose log lies beside it."""
    given = SETTINGS | OF_METHODS.get(method, {}) | {'model': base}
    args = [sys.executable, '-m', 'experiments.soak.keeping', f'--config={HERE / method}.py']
    args += [*(f'--config.{name}={value}' for name, value in given.items()), f'--workdir={out}']
    own = {
      'PYTHONPATH': str(ROOT),
      'PYTHONUNBUFFERED': '1',
      'JAX_COMPILATION_CACHE_DIR': str(cache),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
    }
    log = out.with_suffix('.log')
    with log.open('ab') as file:
      process = subprocess.Popen(
        args, cwd=ROOT, env=os.environ | own, stdout=file, stderr=subprocess.STDOUT
      )
    return cls(process, log, time.monotonic())

  def within(self, seconds: float) -> int | None:
    """The exit code, or None if it goes on after so many seconds."""
    try:
      return self.process.wait(seconds)
    except subprocess.TimeoutExpired:
      return None

  def since(self) -> float:
    """Seconds since it began."""
    return time.monotonic() - self.begun


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
    return lost.total() * SETTINGS['batch_size'], twice.total() * SETTINGS['batch_size']
