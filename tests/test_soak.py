"""Runs that are killed at random moments lose nothing; and a soak sees what it is there to see."""

import dataclasses
import json
import random
import signal
import threading
from pathlib import Path

import pytest

from compacter_jax.checkpoints import verifying
from compacter_jax.errors import ConfigError
from experiments.soak import __main__ as command
from experiments.soak import harm
from experiments.soak.runs import Left
from experiments.soak.soaking import Soak, Trial, Whole
from experiments.soak.tally import Tally
from tests.checkpoints.states import save

NOTES = [{'step': step, 'loss': 1 / step} for step in range(1, 6)]
WHOLE = Left(NOTES, b'arrays', {'test': 90.0}, {'optimizer': b'bits'})


@pytest.mark.soak  # CI has 25 kills in a step of their own
def test_random_kills_lose_nothing(tmp_path):
  tally = Soak(tmp_path, ('compacter',), kills=4, workers=2).run()
  assert not tally.faults, tally.faults
  assert tally.killed >= 4 and tally.runs
  assert (tally.lost, tally.twice, tally.silent) == (0, 0, 0)
  assert tally.seen == tally.damaged
  assert not [path for path in tmp_path.iterdir() if path.name[0].isdigit()]  # nothing to look at


def compared(left, tmp_path, monkeypatch, damaged=()):
  """What the end of such a run is found to be."""
  monkeypatch.setattr(Left, 'by', classmethod(lambda cls, folder: left))
  out = tmp_path / '0-0-lora'
  out.mkdir()
  out.with_suffix('.log').touch()
  trial = Trial(Soak(tmp_path), 'lora', out, Whole(WHOLE, 1.0), random.Random(0))
  trial._damaged.update(damaged)
  trial._compare()
  assert out.exists() == bool(trial.tally.faults)
  return trial.tally


def test_a_run_that_is_the_same_is_well(tmp_path, monkeypatch):
  assert compared(WHOLE, tmp_path, monkeypatch).faults == []


@pytest.mark.parametrize(
  'notes, lost, twice', [(NOTES[:2] + NOTES[3:], 8, 0), (NOTES + NOTES[-2:], 0, 16)]
)
def test_lost_and_repeated_examples_are_counted(notes, lost, twice, tmp_path, monkeypatch):
  tally = compared(dataclasses.replace(WHOLE, notes=notes), tmp_path, monkeypatch)
  assert (tally.lost, tally.twice, tally.silent) == (lost, twice, 1)


@pytest.mark.parametrize(
  'changes, told',
  [
    ({'arrays': b'arrayz'}, 'other arrays'),
    ({'told': {'test': 91.0}}, 'other told'),
    ({'state': {'optimizer': b'bitz'}}, 'other state'),
  ],
)
def test_other_bits_are_silent_corruption(changes, told, tmp_path, monkeypatch):
  tally = compared(dataclasses.replace(WHOLE, **changes), tmp_path, monkeypatch)
  assert tally.silent == 1 and told in tally.faults[0]


def test_damage_that_nothing_saw_is_silent_corruption(tmp_path, monkeypatch):
  tally = compared(WHOLE, tmp_path, monkeypatch, damaged=[20])
  assert tally.silent == 1 and 'step 20 was not seen' in tally.faults[0]


def test_the_newest_checkpoint_is_damaged_where_another_one_is_whole(tmp_path, monkeypatch):
  monkeypatch.setattr(harm, 'DAMAGED', 1.0)
  one = save(tmp_path / 'one', {1: None})
  assert harm.damage(one, random.Random(0)) is None
  for seed in range(8):  # bits and cuts
    two = save(tmp_path / str(seed), {1: None, 2: None})
    assert harm.damage(two, random.Random(seed)) == 2
    assert [bool(found.reason) for found in verifying.verify(two)] == [True, False]
    assert harm.damage(two, random.Random(seed)) is None  # no other one is left


def test_what_went_wrong_ends_the_command_with_1(tmp_path, monkeypatch, capsys):
  bad = Tally(methods=['lora'], runs=1, faults=['step 20 was not seen'])
  monkeypatch.setattr(Soak, 'run', lambda self: bad)
  with pytest.raises(SystemExit) as end:
    command.main(['--minutes=1', f'--workdir={tmp_path}/w', f'--record={tmp_path}/soak.json'])
  assert end.value.code == 1
  assert '| manual actions | 1 |' in capsys.readouterr().out
  assert json.loads((tmp_path / 'soak.json').read_text())['faults'] == bad.faults


@pytest.mark.parametrize(
  'flags, match',
  [
    (['--minutes=-1'], 'minutes'),
    (['--methods', 'compactr'], 'compacter'),
    ([f'--workdir={Path(__file__).parent}'], 'empty folder'),
  ],
)
def test_bad_flags_end_at_once(flags, match):
  with pytest.raises(ConfigError, match=match):
    command.main(flags)


@pytest.mark.parametrize(
  ('number', 'code', 'faults'), [(signal.SIGTERM, 75, 1), (signal.SIGKILL, -signal.SIGKILL, 0)]
)
def test_a_process_that_takes_long_to_end_when_asked_is_a_fault(
  number, code, faults, tmp_path, monkeypatch
):
  soak = Soak(tmp_path)
  soak._lock = threading.Lock()
  for seconds, count in (harm.SOON, 0), (harm.SOON + 0.1, faults):
    end = number, code, seconds
    monkeypatch.setattr(harm, 'end', lambda start, draw, end=end: end)
    trial = Trial(soak, 'lora', tmp_path / 'w', Whole(WHOLE, 1.0), random.Random(0))
    assert trial._harm(Slow()) is None
    assert len(trial.tally.faults) == count
    assert all('asked to end, it took 10.1 s' in fault for fault in trial.tally.faults)


class Slow:
  """Starts of a run that needs ten seconds, where an undisturbed one had taken one."""

  log, process = None, None

  def since(self):
    return 1.0

  def within(self, seconds):
    return 0 if seconds >= 10 else None


@pytest.mark.parametrize('kills', [0, 5])
def test_a_run_ends_where_all_became_slower(kills, tmp_path, monkeypatch):
  soak = Soak(tmp_path, kills=kills)
  soak.start, soak._lock, soak._until = lambda *_: Slow(), threading.Lock(), float('inf')
  monkeypatch.setattr(harm, 'end', lambda start, draw: (signal.SIGKILL, -signal.SIGKILL, 0.0))
  monkeypatch.setattr(Trial, '_look', lambda self, log: None)
  monkeypatch.setattr(Trial, '_compare', lambda self: None)
  trial = Trial(soak, 'lora', tmp_path / 'w', Whole(WHOLE, 1.0), random.Random(0))
  trial.run()
  assert trial.tally.killed == soak.killed == trial.tally.starts - 1
  assert trial.tally.killed == kills or not kills
