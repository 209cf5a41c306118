"""Training that starts from an adapter."""

import dataclasses

import jax
import numpy as np
import pytest

from compacter_jax import adapter_file, t5
from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError, WeightsError
from experiments import finetune, inputs, schema
from experiments.configs import HERE, read_config
from experiments.inputs import read_inputs
from tests.conftest import save_small
from tests.runs import CHANGES, adapter, job, results

pytestmark = pytest.mark.usefixtures('standard_promotion')


@pytest.fixture(scope='module')
def before(base, tmp_path_factory):
  """A run that has ended."""
  out, settings = tmp_path_factory.mktemp('before') / 'w', job(base, steps=3, eval_every=3)
  with jax.numpy_dtype_promotion('standard'):
    finetune.run(settings, read_inputs(settings), out, quiet=True)
  return out


def test_training_starts_from_the_arrays_of_a_run(base, before, tmp_path, capsys):
  # Steps of rate 0 leave what was started from as it is.
  settings = job(base, start_from=str(before), steps=2, eval_every=2, **{'optim.rate': 0.0})
  told = finetune.run(settings, read_inputs(settings), tmp_path / 'w')
  assert f'training starts from {before}' in capsys.readouterr().out
  for name, array in adapter(before).items():
    np.testing.assert_array_equal(adapter(tmp_path / 'w')[name], array)
  assert told['identity']['start'] == adapter_file.describe(before / 'adapter')['arrays']
  assert 'start' not in results(before)['identity']


def test_what_it_started_from_is_part_of_the_run(base, before, tmp_path):
  settings = job(base, start_from=str(before / 'adapter'), steps=2, eval_every=2)
  told = finetune.run(settings, read_inputs(settings), tmp_path / 'w', quiet=True)
  again = dataclasses.replace(settings, start_from=str(before))  # the same, by another path
  assert finetune.run(again, read_inputs(again), tmp_path / 'w', quiet=True) == told
  drawn = dataclasses.replace(settings, start_from='')
  other = dataclasses.replace(settings, start_from=str(tmp_path / 'w'))
  for each in drawn, other:
    with pytest.raises(ConfigError, match='start|something else'):
      finetune.run(each, read_inputs(each), tmp_path / 'w', quiet=True)


def test_another_method_is_refused_before_weights_are_read(base, before, tmp_path, monkeypatch):
  def read(*args):
    raise AssertionError('weights were read')

  monkeypatch.setattr(inputs, 'weights', read)
  wider = job(base, start_from=str(before), **{'method.adapters.width': 16})
  with pytest.raises(ConfigError, match=r'method.adapters.width=8') as error:
    read_inputs(wider)
  assert 'method.adapters.width=16' in error.value.expected
  fewer = job(base, start_from=str(before))
  fewer = dataclasses.replace(fewer, method=chain(norms=dict(fewer.method.parts)['norms']))
  with pytest.raises(ConfigError, match='method.adapters.name'):
    read_inputs(fewer)
  with pytest.raises(WeightsError, match='There is no adapter here'):
    read_inputs(job(base, start_from=str(tmp_path)))


def test_another_t5_is_refused(before, tmp_path):
  sizes = {'d_model': 32, 'd_kv': 8, 'd_ff': 16, 'heads': 2}
  cfg = t5.Config(vocab=8_192, encoder_layers=1, decoder_layers=1, dropout=0.2, **sizes)
  with pytest.raises(WeightsError, match='does not fit'):
    read_inputs(job(save_small(tmp_path, cfg), start_from=str(before)))


def test_a_prompt_starts_from_that_of_another_task(base, tmp_path):
  """Its own would have been drawn from the labels of the task."""

  def prompt(labels, **changes):
    config = read_config(HERE / 'prompt.py')
    config.update_from_flattened_dict(
      {k: v for k, v in CHANGES.items() if not k.startswith('method')}
    )
    values = config.to_dict() | {'model': str(base), 'steps': 2, 'eval_every': 2} | changes
    values['method'] |= {'length': 6, 'init': 'text', 'text': labels}
    return schema.job(values)

  first = prompt('a dog')
  finetune.run(first, read_inputs(first), tmp_path / 'w', quiet=True)
  with pytest.raises(ConfigError, match='text'):
    read_inputs(prompt('a cat', start_from=str(tmp_path / 'w')))
  found = read_inputs(prompt('a dog', start_from=str(tmp_path / 'w')))
  assert found.start is not None
