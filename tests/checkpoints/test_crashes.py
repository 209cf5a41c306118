"""A run that is killed, or whose disk fails, at any call of a save, and goes on.

What is held at each start is in `crashing.py`: a step exists, none that is listed is damaged, the
newest one is not older than the last that was complete and has its bits, and the next save works.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compacter_jax.checkpoints import verify
from tests.checkpoints.crashing import LONGEST

HERE = Path(__file__).parent
NEVER = 0
WRITES = 'open', 'open64', 'openat', 'openat64', 'write'
MORE = 6  # calls that are tried beyond the last: their number may vary a little


def started(shim, folder, mode, calls):
  with open(f'{folder}.errors', 'w') as errors:  # much: no pipe, which would have to be emptied
    return subprocess.Popen(
      [sys.executable, '-m', 'tests.checkpoints.crashing', str(folder), mode, *map(str, calls)],
      env={**os.environ, 'LD_PRELOAD': str(shim), 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ''},
      cwd=HERE.parents[1],
      stdout=subprocess.PIPE,
      stderr=errors,
      text=True,
    )


def ended(run, folder):
  """What a run tells of each call. Fails if that is not in order."""
  told, _ = run.communicate()
  errors = Path(f'{folder}.errors').read_text()
  assert not run.returncode, errors[-4000:]
  lines = [json.loads(line) for line in told.splitlines()]
  for line in lines:
    assert line['code'] in (0, -9, 6), f'{line}\n{errors[-4000:]}'
    assert line['seconds'] <= LONGEST, line
  return lines


def outcomes(shim, folder, mode, calls):
  """Exit code by call; the calls are dealt out to two runs side by side."""
  folders = [f'{folder}{k}' for k in range(2) if calls[k::2]]
  runs = [started(shim, each, mode, calls[k::2]) for k, each in enumerate(folders)]
  lines = [line for run, each in zip(runs, folders) for line in ended(run, each)]
  codes = {line['call']: line['code'] for line in lines}
  assert {abs(call) for call in codes} == set(calls)
  for each in folders:
    findings = verify(each)
    assert not any(finding.reason for finding in findings)
    assert findings or mode == 'first'
  return codes


@pytest.fixture(scope='module')
def number(shim, tmp_path_factory):
  """How many calls a save makes that change something."""
  folder = tmp_path_factory.mktemp('count') / 'run'
  assert outcomes(shim, folder, 'kill', [NEVER]) == {NEVER: 0}
  return int(Path(f'{folder}0.calls').read_text())


def test_a_kill_at_any_call_loses_nothing(shim, number, tmp_path):
  assert number > 60
  codes = outcomes(shim, tmp_path / 'run', 'kill', range(1, number + MORE + 1))
  # Orbax's threads need up to 7 calls less on a busy machine; a save that was over ends with 0.
  assert all(codes[call] == -9 for call in range(1, number - 2 * MORE))
  assert set(codes.values()) == {-9, 0}


def test_a_kill_of_the_first_save_hinders_no_start(shim, number, tmp_path):
  calls = range(1, number, 11)
  codes = outcomes(shim, tmp_path / 'run', 'first', calls)
  assert [codes[-call] for call in calls] == [0] * len(calls)
  assert {codes[call] for call in calls if call < number / 2} == {-9}


@pytest.mark.parametrize('mode', ['enospc', 'eio'])
def test_a_disk_that_fails_is_told_and_the_program_ends(shim, number, tmp_path, mode):
  """Early errors are what Orbax's own manager hangs on; then a sample of the others."""
  calls = [*range(1, 9), *range(9, number, 10)]
  failures(outcomes(shim, tmp_path / 'run', mode, calls), mode)


@pytest.mark.processes
@pytest.mark.parametrize('mode', ['enospc', 'eio'])
def test_a_disk_that_fails_at_any_call(shim, number, tmp_path, mode):
  failures(outcomes(shim, tmp_path / 'run', mode, range(1, number + MORE + 1)), mode)


def test_writes_that_are_short_are_gone_on_with(shim, tmp_path):
  """The same bits are there, and found at the next start."""
  assert set(outcomes(shim, tmp_path / 'run', 'short', range(1, 5)).values()) == {0}


def failures(codes, mode):
  """Where the run saves again after the error it ends well; else by the error of the storage."""
  if mode == 'eio':
    assert set(codes.values()) == {0}
  else:
    assert all(codes[call] == 6 for call in range(1, 9))


def test_all_is_on_the_disk_before_a_step_gets_its_name(shim, tmp_path):
  """And the name is, before anything older goes."""
  folder = tmp_path / 'run'
  ended(started(shim, folder, 'trace', [NEVER]), folder)
  lines = [line.split(' ', 2)[1:] for line in Path(f'{folder}.trace').read_text().splitlines()]
  step = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
  place = lines.index(['rename', str(folder / str(step))])
  draft = Path(next(path for call, path in lines if call == 'mkdir'))
  assert draft.parent == folder and draft.name.startswith(f'.writing-{step}-')
  moved = lines.index(['rename', str(draft / 'arrays')])  # Orbax changes nothing after that
  manifest = lines.index(['write', str(draft / 'manifest.json')])
  assert not [line for line in lines[moved + 1 : place] if line[0] not in ('fsync', *WRITES)]
  for path in (folder / str(step)).rglob('*'):
    inner = draft / path.relative_to(folder / str(step))
    start = manifest if inner.name == 'manifest.json' else moved
    assert ['fsync', str(inner)] in lines[start:place], inner
  assert ['fsync', str(draft)] in lines[manifest:place]
  trash = next(i for i, (_, path) in enumerate(lines) if '.trash-' in path)
  assert ['fsync', str(folder)] in lines[place:trash]
  assert ['fsync', str(folder)] == lines[trash + 1]
