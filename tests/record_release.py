"""Keeps what a version writes, so that later ones can be held to reading it.

    python -m tests.record_release

makes tests/releases/VERSION: a step of checkpoints, a run that was asked to end, the same run when
it has ended, and what the T5 with its adapter makes of a batch. Call it once a release.
"""

import contextlib
import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

import jax
import numpy as np

import compacter_jax as cj
from compacter_jax import t5, tensor_file
from compacter_jax.checkpoints import files, layout, manifest
from compacter_jax.errors import PreemptedError
from experiments import finetune
from experiments.inputs import read_inputs
from experiments.preemption import Preemption
from tests.checkpoints import states
from tests.conftest import save_small
from tests.runs import job

FOLDER = Path(__file__).parent / 'releases'
SIZES = {'d_model': 32, 'd_kv': 8, 'd_ff': 16, 'heads': 2}
CFG = t5.Config(vocab=8_192, encoder_layers=1, decoder_layers=1, dropout=0.1, **SIZES)
STEPS, ASKED = 5, 3
IDS = np.array([[5, 9, 2, 1], [3, 1, 0, 0]], np.int32)


class Asked(Preemption):
  """As if a signal had come while that step was taken."""

  def __call__(self, step: int) -> bool:
    return step == ASKED


def base(folder: Path):
  """The T5, drawn anew and the same each time."""
  return t5.load(save_small(folder, CFG), 'float32')


def logits(model: cj.Model, tuned, frozen) -> np.ndarray:
  """[B, T, 64], of a fixed batch, the first of the vocabulary."""
  return np.asarray(model.logits(tuned, model.trim(frozen), IDS, IDS)[..., :64])


def without_path(step: Path) -> None:
  """Orbax notes where it wrote, of which nothing reads more than that it is there."""
  note = step / layout.ARRAYS / 'commit_success.txt'
  note.write_text('Checkpoint commit was successful')
  described = manifest.read(step / manifest.NAME)
  sums = described.files | {str(note.relative_to(step)): files.checksum(note)}
  (step / manifest.NAME).write_bytes(manifest.encode(dataclasses.replace(described, files=sums)))


def main() -> None:
  """Writes the folder of this version, which must not be there."""
  jax.config.update('jax_numpy_dtype_promotion', 'standard')
  jax.config.update('jax_platforms', 'cpu')
  out = FOLDER / cj.__version__
  out.mkdir(parents=True)
  before = Path.cwd()
  with tempfile.TemporaryDirectory() as scratch:
    os.chdir(scratch)  # a run keeps the path of its T5, which is to be that of no machine
    states.save(Path('checkpoints'), {7: 0.5})
    _, frozen = base(Path('base'))
    # At a rate that takes adapters far from where they start, so that what they do is seen.
    settings = job('base', steps=STEPS, save_every=STEPS, **{'optim.rate': 0.1})
    inputs = read_inputs(settings)
    with contextlib.suppress(PreemptedError):
      finetune.run(settings, inputs, 'left', quiet=True, preemption=Asked())
    shutil.copytree('left', 'ended')
    finetune.run(settings, inputs, 'ended', quiet=True)
    model, tuned = cj.load('ended/adapter', CFG, frozen)
    for name in 'checkpoints', 'left', 'ended':
      shutil.copytree(name, out / name)
    os.chdir(before)
  tensor_file.write(out / 'logits.safetensors', {'logits': logits(model, tuned, frozen)})
  for note in out.rglob('commit_success.txt'):
    without_path(note.parents[1])
  for lock in out.rglob('.lock'):
    lock.unlink()


if __name__ == '__main__':
  main()
