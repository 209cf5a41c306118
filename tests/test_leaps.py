"""A loss that leaps: told with its rows, applied, and found again by a run that goes on."""

import itertools

import jax
import pytest

from compacter_jax import t5, train
from compacter_jax.errors import ConfigError, PreemptedError
from compacter_jax.leaps import FEWEST, WINDOW, Leap, Leaps
from experiments import finetune
from experiments.batches import training
from experiments.inputs import read_inputs
from experiments.preemption import Preemption
from tests.conftest import save_small
from tests.runs import assert_same, job, notes

pytestmark = pytest.mark.usefixtures('standard_promotion', 'checkpoints_stay')
STEPS = 20


def found(times, losses):
  leaps = Leaps(times)
  return [leap for i, loss in enumerate(losses, 1) if (leap := leaps.look(i, loss))]


def test_a_loss_leaps_over_the_median_before_it():
  level = [1.0, 3.0, 2.0, 2.0] * 5
  assert found(4.0, [*level, 8.0, 8.1]) == [Leap(22, 8.1, 2.0)]
  assert not found(0.0, [*level, 1e9])
  # Of a falling loss only the last ones count.
  falling = [100.0] * WINDOW + [1.0] * WINDOW
  assert found(4.0, [*falling, 5.0]) == [Leap(2 * WINDOW + 1, 5.0, 1.0)]
  # A new level is no leap for long.
  risen = found(4.0, [*level, *[50.0] * 40])
  assert 0 < len(risen) <= len(level) + 1 and risen[0].step == len(level) + 1


def test_before_there_are_enough_losses_nothing_leaps():
  assert not found(2.0, [1.0] * (FEWEST - 1) + [9.0])
  assert found(2.0, [1.0] * FEWEST + [9.0]) == [Leap(FEWEST + 1, 9.0, 1.0)]


@pytest.mark.parametrize('cut', [0, 5, 12, 80, 120])
def test_it_finds_the_same_in_two_stretches(cut):
  losses = [1.0 + (i * 7 % 13) / 3 + 20 * (i % 29 == 28) for i in range(130)]
  first = Leaps(3.0)
  early = [first.look(i, loss) for i, loss in enumerate(losses[:cut], 1)]
  assert len(first.recent) == min(cut, WINDOW)
  second = Leaps(3.0, first.recent)
  late = [second.look(i, loss) for i, loss in enumerate(losses[cut:], cut + 1)]
  assert [leap for leap in early + late if leap] == found(3.0, losses) != []


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  sizes = {'d_model': 32, 'd_kv': 8, 'd_ff': 16, 'heads': 2}
  cfg = t5.Config(vocab=8_192, encoder_layers=1, decoder_layers=1, dropout=0.1, **sizes)
  return save_small(tmp_path_factory.mktemp('base'), cfg)


def settings(base, **changes):
  return job(base, **{'steps': STEPS, 'leap': 5.0} | changes)


@pytest.fixture
def outlier(base, monkeypatch):
  """One row whose batches have a hundred times the loss; the steps, from 1, that it is in."""
  mine = settings(base)
  inputs = read_inputs(mine)
  batches = training(mine, inputs.splits['train'], 32)
  row = int(batches.rows(14)[3])
  steps = [i + 1 for i in range(STEPS) if row in batches.rows(i)]
  told = [i for i in steps if i > FEWEST]
  losses = {tuple(batch['source'].ravel().tolist()): i for i, batch in _first(batches)}
  build = train.make_step

  def built(*args, **kwargs):
    step = build(*args, **kwargs)

    def leaping(state, frozen, batch):
      state, metrics = step(state, frozen, batch)
      number = losses[tuple(jax.device_get(batch['source']).ravel().tolist())] + 1
      return state, metrics | {'loss': metrics['loss'] * (100.0 if number in steps else 1.0)}

    return leaping

  monkeypatch.setattr(train, 'make_step', built)
  finetune._program.cache_clear()
  yield inputs, batches, told
  finetune._program.cache_clear()


def _first(batches):
  return enumerate(itertools.islice(batches.stream(0), STEPS))


def test_a_run_tells_the_rows_of_such_steps_and_goes_on(outlier, base, tmp_path, capsys):
  inputs, batches, told = outlier
  finetune.run(settings(base), inputs, tmp_path / 'w')
  noted = {note['step']: note['leap'] for note in notes(tmp_path / 'w') if 'leap' in note}
  assert list(noted) == told != []
  source, numbers = inputs.origins
  for step, leap in noted.items():
    assert leap['loss'] > 5 * leap['median'] > 0 and leap['source'] == source
    assert leap['rows'] == [numbers[i] for i in batches.rows(step - 1)]
  assert f'step {told[0]}: the loss leaps from' in ' '.join(capsys.readouterr().out.split())
  # By default nothing is looked for.
  finetune.run(settings(base, leap=0.0), inputs, tmp_path / 'other', quiet=True)
  assert not any('leap' in note for note in notes(tmp_path / 'other'))


@pytest.mark.parametrize('at', [12])
def test_a_run_that_goes_on_finds_the_same(at, outlier, base, tmp_path, monkeypatch):
  inputs, _, _ = outlier
  finetune.run(settings(base), inputs, tmp_path / 'whole', quiet=True)
  with monkeypatch.context() as patch:
    patch.setattr(Preemption, '__call__', lambda self, step: step == at)
    with pytest.raises(PreemptedError):
      finetune.run(settings(base), inputs, tmp_path / 'w', quiet=True)
  finetune.run(settings(base), inputs, tmp_path / 'w', quiet=True)
  assert_same(tmp_path / 'w', tmp_path / 'whole')


def test_times_that_cannot_be_are_refused(base):
  with pytest.raises(ConfigError, match='leap'):
    settings(base, leap=-1.0)
