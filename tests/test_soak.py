"""Runs that are killed at random moments lose nothing; and a soak sees what it is there to see."""

import dataclasses
import json
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from compacter_jax.checkpoints import verifying
from compacter_jax.errors import ConfigError
from experiments.soak import __main__ as command
from experiments.soak import harm, keeping
from experiments.soak.ends import ASKED, FAILED, KILLED, STOPPED, End
from experiments.soak.runs import Left
from experiments.soak.soaking import Soak, Trial, Whole
from experiments.soak.starts import Failing, Kind
from experiments.soak.tally import Tally
from tests.checkpoints.states import save

NOTES = [{'step': step, 'loss': 1 / step} for step in range(1, 6)]
KIND = Kind('lora')
WHOLE = Left(NOTES, b'arrays', {'test': 90.0}, {'optimizer': b'bits'})


@pytest.mark.soak  # CI has 25 kills in a step of their own
def test_random_kills_lose_nothing(tmp_path):
  tally = Soak(tmp_path, ('compacter', 'full:2'), kills=4, workers=2).run()
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
  soak, start = Soak(tmp_path), Fake([0], [out.with_suffix('.log')])
  soak.start, soak._until = lambda *_: start, 0.0
  trial = Trial(soak, KIND, out, Whole(WHOLE, 1.0), random.Random(0))
  trial._damaged.update(damaged)
  trial.run()
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
    (['--methods', 'lora:3'], 'hosts of lora'),
    ([f'--workdir={Path(__file__).parent}'], 'empty folder'),
  ],
)
def test_bad_flags_end_at_once(flags, match):
  with pytest.raises(ConfigError, match=match):
    command.main(flags)


class Fake:
  """A start that ends by itself after some seconds, or by what is done to it."""

  def __init__(self, codes, logs=(), seconds=0.0, told=keeping.BEGINS):
    self.processes, self.logs = [self] * len(codes), list(logs)
    self._codes, self._seconds, self._told, self.signals = codes, seconds, told, []

  def send_signal(self, number):
    self.signals.append(number)

  def told(self, process=0):
    return self._told

  def since(self):
    return 1.0

  def within(self, seconds, but=None):
    return self._codes if seconds >= self._seconds else None

  def kill(self):
    return self._codes


KILL, TERM = -signal.SIGKILL, -signal.SIGTERM


@pytest.mark.parametrize(
  ('how', 'codes', 'well'),
  [
    (KILLED, [KILL], True),
    (KILLED, [1], False),
    (ASKED, [75], True),
    (ASKED, [TERM], True),  # as it imports
    (ASKED, [KILL], False),  # it did not end
    (KILLED, [8, KILL], True),
    (KILLED, [134, KILL], False),
    (ASKED, [75, 75], True),
    (ASKED, [8, TERM], True),
    (ASKED, [1, 75], False),
    (STOPPED, [8, KILL], True),
    (STOPPED, [KILL, KILL], False),
    (FAILED, [6], True),
    (FAILED, [1], False),
    (FAILED, [8, 6], True),
    (FAILED, [6, 8], False),
  ],
)
def test_every_harm_has_its_exit_codes(how, codes, well):
  """The last process is the one that is harmed."""
  assert bool(harm._wrong(how, len(codes) - 1, codes, 0.0, 10.0)) != well
  late = harm._wrong(how, len(codes) - 1, codes, 10.1, 10.0)
  assert ('10.1 s' in late) == well


def test_a_disk_that_fails_has_its_time():
  now = time.monotonic() - 2
  failing = Failing(Path('x.so'), 3, 28)
  end = harm.failed(Fake([6], told=f'\n{keeping.FAILS} {now}\n'), failing, 60)
  assert end.how == FAILED and not end.wrong and 2 <= end.seconds < 4
  assert harm.failed(Fake([0]), failing, 60) == End('', [0])  # it came to no such call
  end = harm.failed(Fake([6], told=f'\n{keeping.FAILS} {now - harm.SOON}\n'), failing, 60)
  assert 'until all were gone' in end.wrong


@pytest.mark.parametrize('hosts', [1, 2])
def test_signals_go_to_one_of_the_processes(hosts):
  seen = set()
  for seed in range(40):
    start = Fake([0] * hosts)
    seen.add(harm.end(start, random.Random(seed)).how)
    assert len(start.signals) == 1
  assert seen == {KILLED, ASKED} | ({STOPPED} if hosts > 1 else set())


def test_an_end_that_is_wrong_is_told_and_ends_the_trial(tmp_path, monkeypatch):
  soak = Soak(tmp_path)
  log = tmp_path / 'w.log'
  log.touch()
  soak.start, soak._lock = lambda *_: Fake([1], [log], seconds=10), threading.Lock()
  soak._until = float('inf')
  monkeypatch.setattr(harm, 'end', lambda *_: End(ASKED, [75], 10.1, 'it took 10.1 s'))
  trial = Trial(soak, KIND, tmp_path / 'w', Whole(WHOLE, 1.0), random.Random(0))
  trial.run()
  assert trial.tally.starts == 1
  assert trial.tally.faults == ['w: it took 10.1 s']  # of no folder of this machine
  assert (trial.tally.asked, trial.tally.asked_seconds) == (1, 10.1)


@pytest.mark.parametrize('kills', [0, 5])
def test_a_run_ends_where_all_became_slower(kills, tmp_path, monkeypatch):
  soak = Soak(tmp_path, kills=kills)
  slow = Fake([0], [tmp_path / 'log'], seconds=10)  # where an undisturbed one had taken one
  soak.start, soak._lock, soak._until = lambda *_: slow, threading.Lock(), float('inf')
  monkeypatch.setattr(harm, 'end', lambda *_: End(KILLED, [KILL]))
  for name in '_compare', '_remove', '_look':
    monkeypatch.setattr(Trial, name, lambda *_: None)
  trial = Trial(soak, KIND, tmp_path / 'w', Whole(WHOLE, 1.0), random.Random(0))
  trial.run()
  assert trial.tally.killed == soak.killed == trial.tally.starts - 1
  assert trial.tally.killed == kills or not kills


def test_what_was_counted_is_added_up():
  one, other = Tally(), Tally(killed=2, asked_seconds=3.0, lost_seconds=1.0)
  one.count(End(KILLED, [8, KILL], 6.0), several=True)
  one.count(End(KILLED, [KILL], 9.0), several=False)  # lost to no one
  one.count(End(FAILED, [6], 1.5), several=False)
  other.add(one)
  assert (other.killed, other.failed, other.of_hosts, other.ends) == (4, 1, 1, 5)
  assert (other.asked_seconds, other.lost_seconds, other.failed_seconds) == (3.0, 6.0, 1.5)
