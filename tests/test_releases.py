"""What each release wrote is read by this version, as tests/record_release.py kept it."""

import json
import shutil

import numpy as np
import pytest

import compacter_jax as cj
from compacter_jax import adapter_file, tensor_file
from compacter_jax.checkpoints import manifest
from experiments.verifying import verify
from tests.checkpoints import states
from tests.record_release import CFG, FOLDER, base, logits

RELEASES = sorted(path.name for path in FOLDER.iterdir())


@pytest.fixture(params=RELEASES)
def release(request, tmp_path):
  return shutil.copytree(FOLDER / request.param, tmp_path / 'release')


def test_there_is_one_of_every_format():
  formats = {'manifest': set(), 'adapter': set()}
  for release in RELEASES:
    step = FOLDER / release / 'checkpoints/7/manifest.json'
    formats['manifest'].add(json.loads(step.read_text())['manifest']['format'])
    formats['adapter'].add(adapter_file.describe(FOLDER / release / 'ended/adapter')['format'])
  assert formats['manifest'] == set(range(1, manifest.FORMAT + 1))
  assert formats['adapter'] == set(range(1, adapter_file.FORMAT + 1))


def test_its_checkpoints_come_back_bit_by_bit(release):
  found = states.restored(release / 'checkpoints')
  assert found.step == 7 and found.score == 0.5
  assert states.bits(found.state) == states.bits(states.state(7))


def test_its_runs_are_right(release):
  for name, kind in ('left', 'not ended'), ('ended', 'has ended'):
    report = verify(release / name)
    assert report.code == 0 and kind in report.kind, report.text()


def test_its_adapter_makes_what_it_made(release, tmp_path):
  cfg, frozen = base(tmp_path / 'base')
  assert cfg == CFG
  found = logits(*cj.load(release / 'ended/adapter', cfg, frozen), frozen)
  kept = tensor_file.read(release / 'logits.safetensors')['logits']
  np.testing.assert_allclose(found, kept, rtol=1e-5, atol=1e-5)
