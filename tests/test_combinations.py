"""Settings that change how a step is computed change no number, alone and together."""

import functools
import itertools

import jax
import numpy as np
import pytest

from compacter_jax import t5
from experiments import finetune
from experiments.inputs import read_inputs
from tests.conftest import save_small
from tests.runs import adapter, job, notes

pytestmark = [pytest.mark.soak, pytest.mark.usefixtures('standard_promotion')]

CHANGES = {'steps': 6, 'eval_every': 6, 'log_every': 1, 'optim.rate': 1e-3}
COMBINATIONS = list(itertools.product(('float32', 'bfloat16'), ('none', 'dots', 'full'), (1, 2)))


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
  """The losses of a run with these settings, and the arrays that it left."""
  # Parts of a batch draw other dropout than the whole.
  sizes = {'d_model': 32, 'd_kv': 8, 'd_ff': 16, 'heads': 2, 'dropout': 0.0}
  cfg = t5.Config(vocab=8_192, encoder_layers=2, decoder_layers=2, **sizes)
  base = save_small(tmp_path_factory.mktemp('base'), cfg)

  @functools.cache
  def run(dtype, remat, accumulate):
    out = tmp_path_factory.mktemp('run') / 'w'
    settings = CHANGES | {'dtype': dtype, 'remat': remat, 'accumulate': accumulate}
    made = job(base, **settings)
    with jax.numpy_dtype_promotion('standard'):
      finetune.run(made, read_inputs(made), out, quiet=True)
    return [note['loss'] for note in notes(out) if 'loss' in note], adapter(out)

  return run


@pytest.mark.parametrize(('dtype', 'remat', 'accumulate'), COMBINATIONS)
def test_they_go_together(dtype, remat, accumulate, ran):
  (losses, arrays), (plain, wanted) = ran(dtype, remat, accumulate), ran('float32', 'none', 1)
  assert len(losses) == 5 and np.isfinite(losses).all()  # the last two steps are told together
  assert arrays.keys() == wanted.keys()
  far = max(float(np.abs(arrays[name] - wanted[name]).max()) for name in arrays)
  print(f'{dtype} {remat} {accumulate}: loss {abs(losses[0] / plain[0] - 1):.1e}, arrays {far:.1e}')
  assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values())
  # Of bfloat16, whose 8 bits round by 0.4 % at most; a loss is a mean over many roundings.
  rtol = 1e-6 if dtype == 'float32' else 4e-3
  np.testing.assert_allclose(losses[0], plain[0], rtol=rtol)
  # Adam turns other gradients into steps of about the rate all the same: what bfloat16 trains is
  # held to what it trains with nothing combined.
  alike, wanted = ran(dtype, 'none', 1)
  np.testing.assert_allclose(losses, alike, rtol=1e-5)
  atol = 5e-5 if dtype == 'float32' else 5e-4  # gradients of parts are rounded before their sum
  for name in arrays:
    np.testing.assert_allclose(arrays[name], wanted[name], rtol=0, atol=atol, err_msg=name)
