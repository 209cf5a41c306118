"""Packed, bucketed and padded batches train the same, each example as if it were alone."""

import dataclasses
import json
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax import data, methods, optim, t5, train
from compacter_jax.errors import ConfigError
from compacter_jax.methods.prompt import Prompt
from compacter_jax.model import Model
from experiments import finetune, schema
from experiments.batches import training
from experiments.benchmarks import batching
from experiments.configs import read_config
from experiments.inputs import read_inputs
from tests.conftest import draw
from tests.data.test_pipeline import encoded
from tests.t5.small import CFG

pytestmark = pytest.mark.usefixtures('standard_promotion')


def split(n=60):
  return encoded(np.random.default_rng(0).integers(1, 20, n), target='bc')


def trained(kind, accumulate=1, steps=5):
  """The losses and the tuned arrays of a few steps without dropout."""
  model, weights = Model(CFG, methods.load('unfreeze', where='.*norm/scale')), draw(CFG)
  batches = data.Batches(split(), 8, 0, kind, unit=accumulate, d_model=CFG.d_model)
  optimizer = optim.build(optim.Optim(rate=1e-3, warmup=0), steps)
  step = train.make_step(model, optimizer, accumulate=accumulate, dropout=False)
  state, losses = train.start(model.init(jax.random.key(0), weights), optimizer), []
  for i in range(steps):
    batch = {key: jnp.asarray(table) for key, table in batches.batch(i).items()}
    state, metrics = step(state, weights, batch)
    losses.append(float(metrics['loss']))
  return losses, state.tuned


@pytest.mark.parametrize('accumulate', [1, 2])
def test_packed_steps_are_those_of_padded_ones(accumulate):
  losses, tuned = trained('packed', accumulate)
  plain, want = trained('padded')
  np.testing.assert_allclose(losses, plain, rtol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), tuned, want)


def test_speed_counts_examples_not_lines():
  for kind in data.BATCHINGS:
    batches = data.Batches(split(), 8, 0, kind)
    assert [train.examples_in(batches.batch(step)) for step in range(5)] == [8] * 5


def test_the_wait_for_data_is_told():
  def slow():
    for step in range(8):
      time.sleep(0.05)
      yield batches.batch(step)

  batches = data.Batches(split(), 8, 0)
  told = []
  step = lambda state, frozen, batch: (state, {'loss': 1.0, 'grad_norm': 1.0, 'finite': True})
  train.fit(step, None, {}, slow(), 8, told.append, every=4)
  assert len(told) == 2 and all(0.9 < progress.waited <= 1 for progress in told)
  told.clear()
  train.fit(step, None, {}, iter([batches.batch(0)] * 4), 4, told.append, every=4)
  assert told[0].waited < 0.9


def test_a_prompt_is_refused_before_anything_is_compiled():
  model = Model(CFG, Prompt(length=2))
  with pytest.raises(ConfigError, match='padded or bucketed'):
    model.check_packing()
  batch = data.Batches(split(), 8, 0, 'packed').batch(0)
  with pytest.raises(ConfigError, match='padded or bucketed'):
    model.loss(model.specs(), draw(CFG), batch)


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  """A folder with a tiny T5 and the tokenizer that is shipped."""
  folder = tmp_path_factory.mktemp('base')
  one = {'vocab': 8192, 'd_model': 128, 'encoder_layers': 1, 'decoder_layers': 1}
  cfg = dataclasses.replace(CFG, **one)
  t5.save(folder, cfg, draw(cfg))
  shutil.copy(t5.resolve('nano') / 'spiece.model', folder)
  return folder


def test_a_run_takes_the_batching_of_its_config(base, tmp_path):
  config = read_config(Path(batching.__file__).parents[1] / 'configs' / 'quickstart.py')
  config.model, config.data.batching, config.steps, config.eval_every = str(base), 'packed', 2, 2
  config.method.adapters.width, config.mesh.devices = 4, 1
  config.data.max_train = config.data.max_validation = config.data.max_test = 24
  job = schema.job(config.to_dict())
  inputs = read_inputs(job)
  split, width = inputs.splits['train'], inputs.model.cfg.d_model
  assert training(job, split, width).batching == 'packed'
  results = finetune.run(job, inputs, tmp_path / 'w', quiet=True)
  notes = [json.loads(line) for line in (tmp_path / 'w/metrics.jsonl').read_text().splitlines()]
  told, position = results['batching'], results['position']
  assert training(job, split, width).resumed(position) == 2
  assert 0.5 < told['useful_ids'] < 1 and told['lines'] < 8 and 0 <= told['waited'] <= 1
  assert 0 <= notes[0]['waited'] <= 1 and notes[0]['step'] == results['steps'] == 2


def test_the_benchmark_runs(base, tmp_path, capsys, monkeypatch):
  rows = ''.join(f'g\t{i % 2}\t\t{"word " * (i % 7 + 1)}\n' for i in range(40))
  (tmp_path / 'train.tsv').write_text(rows)
  (tmp_path / 'dev.tsv').write_text(rows)
  monkeypatch.setattr(batching, 'TASKS', (('cola', 16, 8),))
  batching.main([f'--model={base}', f'--data.dir={tmp_path}', '--steps=1', '--rounds=1'])
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 6 and all(line.count('|') == 8 for line in lines)
  assert '(1.00)' in lines[3] and 'padded' in lines[3]
