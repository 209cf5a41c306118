"""Jobs on rented machines: the commands, and the loops that start them again, on programs that play
gcloud, srun and the run itself."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from compacter_jax.checkpoints import layout
from experiments import folders
from experiments.configs import read_config

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / 'experiments/launch'
SCRIPTS = sorted(LAUNCH.glob('*.sh'))
PAGE = (ROOT / 'docs/tpu.md').read_text()
BLOCKS = re.findall(r'```(\w+)\n(.*?)```', PAGE, re.DOTALL)
COMMANDS = re.findall(r'^bash experiments/launch/.*?(?=^```)', PAGE, re.DOTALL | re.MULTILINE)
PATIENCE = 60  # seconds that nothing here comes near to

# Takes a line of answers, the last one for ever: `!CODE`, or what is printed.
ANSWER = r"""
answer() {
  local file=$PLAY/$1 line=
  [[ -e $file ]] || return 0
  line=$(head -n 1 "$file")
  (($(wc -l <"$file") == 1)) || sed -i 1d "$file"
  [[ $line != !* ]] || exit "${line#!}"
  echo "$line"
}
"""
GCLOUD = r"""
words="$*"
echo "$words" >>"$PLAY/calls"
case $words in
  *' queued-resources list '*) answer queue ;;
  *' tpu-vm list '*) answer machine ;;
  *'worker.sh state'*) answer run ;;
  *' create '*) answer create ;;
  *'worker.sh install'*) answer install ;;
esac
"""
# The real archive takes seconds; one test makes it.
GIT = r"""
if [[ $1 == archive ]]; then
  echo "git $*" >>"$PLAY/calls"
  [[ -e $PLAY/real ]] || exit 0
fi
PATH=${PATH#*:} exec git "$@"
"""


def play(folder, **programs):
  """Programs of those names that come first in PATH, and the environment in which they do."""
  (folder / 'bin').mkdir()
  for name, text in programs.items():
    path = folder / 'bin' / name
    path.write_text(f'#!/usr/bin/env bash\nset -euo pipefail\n{ANSWER}\n{text}')
    path.chmod(0o755)
  path = f'{folder / "bin"}:{os.environ["PATH"]}'
  return os.environ | {'PATH': path, 'PLAY': str(folder), 'WORKER_PATIENCE': '1'}


def bash(*words, env=None, cwd=ROOT):
  done = ['bash', *map(str, words)]
  return subprocess.run(done, capture_output=True, text=True, env=env, cwd=cwd, timeout=PATIENCE)


MACHINE = '--name=run', '--zone=us-west4-a', '--project=mine', '--poll=0'
RUN = '--', '--config=experiments/configs/quickstart.py'
# Of each script that is called by hand: flags that are enough.
ENOUGH = {
  'tpu_vm.sh': (*MACHINE, '--workdir=/w/r'),
  'tpu_pod.sh': (*MACHINE, '--workdir=/mnt/share/runs/r'),
  'slurm.sh': ('--workdir=/shared/runs/r',),
}


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_parsed_and_are_small(script):
  done = bash('-n', script)
  assert (done.returncode, done.stderr) == (0, '')
  lines = script.read_text().splitlines()
  assert len(lines) <= 200
  assert max(map(len, lines)) <= 100


def test_what_is_documented_is_what_a_dry_run_prints():
  shown = [(text, BLOCKS[i + 1]) for i, (kind, text) in enumerate(BLOCKS) if '--dry_run' in text]
  assert {name for name in ENOUGH for text, _ in shown if name in text} == set(ENOUGH)
  for command, (kind, printed) in shown:
    done = bash('-c', command)
    assert (kind, done.returncode) == ('text', 0), done.stderr
    assert done.stdout == printed


@pytest.mark.parametrize('command', COMMANDS, ids=lambda text: text.split()[1])
def test_documented_commands_can_be(command, tmp_path):
  """Also those that a page shows without --dry_run, and every setting that they name."""
  env = play(tmp_path, **dict.fromkeys(('gcloud', 'sbatch'), 'echo >>"$PLAY/calls"'))
  done = bash('-c', command.replace(' -- ', ' --dry_run -- '), env=env)
  assert done.returncode == 0, done.stderr
  assert not (tmp_path / 'calls').exists()
  (file,) = re.findall(r'--config=(\S+)', command)
  for name in re.findall(r'--config\.([\w.]+)=', command):
    inner = read_config(ROOT / file)
    for key in name.split('.'):
      inner = inner[key]  # a KeyError where there is no such setting


WRONG = {
  (): 'is missing',
  ('--nme=x',): 'no flag --nme',
  ('x',): 'x is no flag',
  ('--workdir',): '--workdir needs a value',
  ('--dry_run=perhaps',): 'yes or no, not perhaps',
  ('--workdir=gs://bucket/r', *RUN): 'is a path',
  ('--workdir=runs/r', *RUN): 'whole path',
  RUN[:1]: 'no --config',
  ('--', '--config=nothing.py'): 'no config nothing.py',
  (*RUN, '--workdir=/w'): 'given by this script',
  (*RUN, '--hosts=auto'): 'given by this script',
}
OF_ONE = {
  'tpu_vm.sh': {('--name=Run', *RUN): 'cannot be Run', ('--poll=-1', *RUN): 'cannot be -1'},
  'tpu_pod.sh': {('--spot=no', *RUN): 'yes or no', ('--losses=few', *RUN): 'cannot be few'},
  'slurm.sh': {('--nodes=0', *RUN): 'cannot be 0', ('--time=soon', *RUN): 'cannot be soon'},
}


@pytest.mark.parametrize('script', ENOUGH)
def test_wrong_flags_end_before_anything_is_called(script, tmp_path):
  programs = dict.fromkeys(('gcloud', 'sbatch', 'mkdir'), 'echo "$0 $*" >>"$PLAY/calls"')
  env = play(tmp_path, **programs)
  for flags, told in (WRONG | OF_ONE[script]).items():
    enough = ENOUGH[script] if '--' in flags else ()
    done = bash(LAUNCH / script, *enough, *flags, env=env)
    assert done.returncode == 2, flags
    assert told in done.stderr and '\n  fix: ' in done.stderr
    assert not done.stdout and not (tmp_path / 'calls').exists()
  done = bash(LAUNCH / script, '--help', env=env)
  assert done.returncode == 0 and '--workdir' in done.stdout


def test_a_config_that_is_not_committed_is_not_copied(tmp_path):
  (tmp_path / 'mine.py').write_text((ROOT / 'experiments/configs/quickstart.py').read_text())
  config = os.path.relpath(tmp_path / 'mine.py', ROOT)
  done = bash(LAUNCH / 'tpu_vm.sh', *ENOUGH['tpu_vm.sh'], '--', f'--config={config}')
  assert done.returncode == 2 and 'commit it' in done.stderr


class Played:
  """A script's run against a gcloud that gives answers in turn."""

  def __init__(self, folder, script, *flags, **answers):
    env = play(folder, gcloud=GCLOUD, git=GIT)
    for name, lines in answers.items():
      (folder / name).write_text(''.join(line + '\n' for line in lines))
    self.out = f'--out={folder / "out"}'
    self.done = bash(LAUNCH / script, *ENOUGH[script], self.out, *flags, *RUN, env=env)
    self.code = self.done.returncode
    self.calls = (folder / 'calls').read_text().splitlines()

  def count(self, words):
    return sum(words in call for call in self.calls)

  def order(self, *words):
    """Those of the words that calls hold, as they were called."""
    return [word for call in self.calls for word in words if word in call]


STEPS = 'create', 'install', 'release', 'start shared', '--recurse', 'delete'


def test_a_pod_run_that_ends_is_fetched_and_its_slice_deleted(tmp_path):
  queue = '', 'WAITING_FOR_RESOURCES', 'ACTIVE'
  run = '!127', 'run: working', 'run: working', 'run: ended 0'
  (tmp_path / 'real').touch()
  played = Played(tmp_path, 'tpu_pod.sh', queue=queue, machine=['READY'], run=run)
  assert played.code == 0
  assert played.order(*STEPS) == ['create', 'install', 'start shared', '--recurse', 'delete']
  assert '--spot' in next(call for call in played.calls if 'create' in call)
  assert 'delete run --force --quiet' in played.calls[-1]
  assert (tmp_path / 'out/source.tar.gz').stat().st_size > 10_000
  assert 'may still be there' not in played.done.stderr


def test_a_run_that_was_asked_to_end_is_started_again(tmp_path):
  run = 'run: none', 'run: ended 75', 'run: ended 75', 'run: ended 0'
  played = Played(tmp_path, 'tpu_pod.sh', queue=['ACTIVE'], machine=['READY'], run=run)
  assert played.code == 0
  assert played.order('create', 'start shared', 'delete') == [*2 * ['start shared'], 'delete']
  assert played.count('git archive') == 1  # what goes on is what was begun


def test_a_slice_that_goes_before_the_run_is_asked_for_again(tmp_path):
  queue = '', 'ACTIVE', 'SUSPENDED', '', 'ACTIVE'
  answers = {'queue': queue, 'machine': ['READY', 'PREEMPTED', 'READY'], 'install': ['!1', '']}
  played = Played(tmp_path, 'tpu_pod.sh', **answers, run=['!127', '!127', 'run: ended 0'])
  assert played.code == 0
  assert played.order('create', 'start shared') == ['create', 'create', 'start shared']


@pytest.mark.parametrize('taken', ['SUSPENDED', 'ACTIVE'])
def test_a_slice_that_is_taken_away_is_asked_for_again(tmp_path, taken):
  """Its request may still say that it is there."""
  queue = '', 'ACTIVE', taken, '', 'ACTIVE'
  machine = ['READY', 'PREEMPTED', 'PREEMPTED', 'READY']
  if taken == 'SUSPENDED':
    machine.remove('PREEMPTED')
  run = '!127', 'run: working', '!255', '!127', 'run: ended 0'
  played = Played(tmp_path, 'tpu_pod.sh', queue=queue, machine=machine, run=run)
  assert played.code == 0
  first = ['create', 'install', 'start shared', 'delete']
  # What the slice left in the folder is let go of, once it is deleted.
  second = ['create', 'install', 'release', 'start shared', '--recurse', 'delete']
  assert played.order(*STEPS) == first + second


def test_a_run_that_is_wrong_is_not_started_again(tmp_path):
  run = '!127', 'run: ended 2'
  played = Played(tmp_path, 'tpu_pod.sh', queue=['ACTIVE'], machine=['READY'], run=run)
  assert played.code == 2
  assert played.order('start shared', 'worker.sh log', '--recurse', 'delete') == [
    'start shared',
    'worker.sh log',
    'delete',
  ]


@pytest.mark.parametrize('end', ['run: ended 8', 'run: none'])
def test_lost_hosts_are_borne_some_times(tmp_path, end):
  answers = {'queue': ['ACTIVE'], 'machine': ['READY'], 'run': ['!127', end]}
  played = Played(tmp_path, 'tpu_pod.sh', '--losses=2', **answers)
  assert played.code == 8
  assert played.count('start shared') == 3 and played.count('delete') == 1


def test_a_run_that_is_at_work_is_only_waited_for(tmp_path):
  run = 'run: working', '!255', 'run: working', 'run: ended 0'
  flags = '--take_over', '--keep'
  played = Played(tmp_path, 'tpu_pod.sh', *flags, queue=['ACTIVE'], machine=['READY'], run=run)
  assert played.code == 0
  assert played.order(*STEPS) == ['start shared', '--recurse']  # to start it is to find it
  assert 'queued-resources delete run' in played.done.stderr  # told, since it costs


@pytest.mark.parametrize(
  ('answers', 'deleted'),
  [
    ({'queue': ['', 'FAILED']}, 1),
    ({'queue': [''], 'create': ['!1']}, 0),
    ({'queue': ['ACTIVE'], 'machine': ['READY'], 'run': ['!127'], 'install': ['!5']}, 1),
  ],
  ids=['no quota', 'refused', 'install'],
)
def test_what_stays_wrong_ends_the_loop(tmp_path, answers, deleted):
  played = Played(tmp_path, 'tpu_pod.sh', **answers)
  assert played.code == (5 if 'install' in answers else 1)
  assert played.count('delete') == deleted
  assert played.count('start shared') == 0
  assert ('may still be there' in played.done.stderr) == (not deleted)


def test_a_vm_is_made_used_and_deleted(tmp_path):
  played = Played(tmp_path, 'tpu_vm.sh', machine=[''], run=['run: working', 'run: ended 0'])
  assert played.code == 0
  steps = 'create', 'install', 'start alone', '--recurse', 'delete'
  assert played.order(*steps) == list(steps)
  assert played.count('--hosts') == 0


def test_a_vm_whose_run_can_go_on_stays(tmp_path):
  played = Played(tmp_path, 'tpu_vm.sh', machine=['READY'], run=['run: none', 'run: ended 75'])
  assert played.code == 75
  assert played.count('create') == played.count('delete') == 0
  assert 'tpu-vm delete run' in played.done.stderr


# Plays the run: says its pid, counts the signals, and ends as the file `end` says.
PYTHON = r"""
trap 'echo TERM >>signals' TERM
echo "$*" >>started
until [[ -e end ]]; do sleep 0.02; done
exit "$(<end)"
"""


@pytest.fixture
def host(tmp_path):
  """The folder of a TPU VM into which the source was copied."""
  home = tmp_path / 'compacter_jax'
  (home / 'experiments/launch').mkdir(parents=True)
  (home / '.venv/bin').mkdir(parents=True)
  (home / 'experiments/launch/worker.sh').write_text((LAUNCH / 'worker.sh').read_text())
  (home / '.venv/bin/python').write_text(f'#!/usr/bin/env bash\n{PYTHON}')
  (home / '.venv/bin/python').chmod(0o755)
  env = play(tmp_path, stat='answer kind')
  work = lambda *words: bash(home / 'experiments/launch/worker.sh', *words, env=env)
  yield home, work
  (home / 'end').write_text('0')
  until(lambda: 'working' not in work('state').stdout)


def until(reached):
  for _ in range(PATIENCE * 20):
    if reached():
      return
    time.sleep(0.05)
  raise AssertionError('it never came')


def test_a_run_outlives_who_started_it(host, tmp_path):
  home, work = host
  start = 'start', 'alone', tmp_path / 'r', '--config=c.py', '--config.seed=1'
  assert work('state').stdout == 'run: none\n'
  assert work(*start).returncode == 0
  until((home / 'started').exists)
  assert (home / 'started').read_text() == (
    f'-m experiments.run --config=c.py --config.seed=1 --workdir={tmp_path / "r"}\n'
  )
  assert work('state').stdout == 'run: working\n'
  assert work(*start).stdout == 'run: working already\n'
  other = work(*start[:-1], '--config.seed=2')
  assert other.returncode == 2 and '--config.seed=1' in other.stderr

  # A host that is shut down signals all its processes; the run must not get it twice.
  group = int((home / '.launch/pids').read_text().split()[1])
  os.killpg(group, signal.SIGTERM)
  until((home / 'signals').exists)
  os.kill(group, signal.SIGTERM)
  assert work('state').stdout == 'run: working\n'
  (home / 'end').write_text('75')
  until(lambda: work('state').stdout == 'run: ended 75\n')
  assert (home / 'signals').read_text() == 'TERM\n'

  assert work(*start).returncode == 0
  until(lambda: len((home / 'started').read_text().splitlines()) == 2)
  until(lambda: work('state').stdout == 'run: ended 75\n')


def test_a_run_that_does_not_stop_is_ended(host, tmp_path):
  home, work = host
  work('start', 'alone', tmp_path / 'r')
  until((home / 'started').exists)
  assert work('stop').returncode == 0
  until(lambda: work('state').stdout == 'run: none\n')
  assert (home / 'signals').read_text() == 'TERM\n'
  assert work('stop').returncode == 0


def test_hosts_must_share_the_folder(host, tmp_path):
  home, work = host
  start = 'start', 'shared', tmp_path / 'new/r'
  (tmp_path / 'kind').write_text('ext2/ext3\n')
  done = work(*start)
  assert done.returncode == 2 and 'mount a share' in done.stderr
  assert not (tmp_path / 'new').exists() and not (home / 'started').exists()
  (tmp_path / 'kind').write_text('nfs\n')
  (home / 'end').write_text('0')
  assert work(*start).returncode == 0
  until(lambda: work('state').stdout == 'run: ended 0\n')
  assert '--hosts=auto' in (home / 'started').read_text()
  assert work('log').returncode == 0


def test_the_note_that_is_forgotten_is_that_of_the_checkpoints(host, tmp_path):
  note = tmp_path / folders.CHECKPOINTS / layout.HOLDER
  note.parent.mkdir()
  note.write_text('{}')
  (note.parent / '1').mkdir()
  assert host[1]('release', tmp_path).returncode == 0
  assert [each.name for each in note.parent.iterdir()] == ['1']


SRUN = r"""
echo "srun $*" >>"$PLAY/calls"
if [[ -e $PLAY/wait ]]; then
  trap 'exit 137' TERM  # as srun does, with what runs in it
  touch "$PLAY/ready"
  until [[ -e $PLAY/end ]]; do sleep 0.02; done
fi
answer codes
"""
JOB = '--python=python', '--nodes=2', '--gpus=4'


@pytest.fixture
def job(tmp_path):
  """Starts slurm_job.sh where srun ends with these codes in turn; the calls that it made."""
  told = 'echo "{} $*" >>"$PLAY/calls"'.format
  env = play(tmp_path, srun=SRUN, scontrol=told('scontrol'), scancel=told('scancel'))
  env['SLURM_JOB_ID'] = '17'

  def start(*codes, **more):
    (tmp_path / 'codes').write_text(''.join(f'!{code}\n' for code in codes))
    command = ['bash', LAUNCH / 'slurm_job.sh', f'--workdir={tmp_path / "r"}', *JOB, *RUN]
    with open(tmp_path / 'told', 'w') as told:
      return subprocess.Popen(command, stderr=told, env=env | more, cwd=ROOT)

  return tmp_path, start


@pytest.mark.parametrize(
  ('codes', 'calls'),
  [
    ([0], ['srun']),
    ([2], ['srun']),
    ([75], ['srun']),  # asked by somebody else, as scancel does
    ([8, 8, 0], ['srun'] * 3),
    ([8], ['srun'] * 4),
    ([8, 137, 0], ['srun'] * 3),  # the code of a process that was killed hides the others' 8
    ([8, 3], ['srun'] * 2),
  ],
  ids=str,
)
def test_a_job_starts_a_run_again_that_lost_a_process(job, codes, calls):
  folder, start = job
  assert start(*codes).wait(PATIENCE) == codes[-1]
  lines = (folder / 'calls').read_text().splitlines()
  assert [line.split()[0] for line in lines] == calls
  assert 'JAX_LOCAL_DEVICE_IDS=0,1,2,3 python -m experiments.run' in lines[0]
  assert lines[0].endswith('--hosts=auto')


def test_the_end_of_the_time_is_passed_on_once_and_the_job_comes_back(job):
  folder, start = job
  (folder / 'wait').touch()
  running = start(75)
  until((folder / 'ready').exists)
  running.send_signal(signal.SIGUSR1)
  until(lambda: 'scancel' in (folder / 'calls').read_text())
  running.send_signal(signal.SIGUSR1)
  time.sleep(0.1)  # for it to be passed on, if it were
  (folder / 'end').touch()
  assert running.wait(PATIENCE) == 75
  calls = (folder / 'calls').read_text().splitlines()
  assert calls[1:] == ['scancel --signal=TERM 17', 'scontrol requeue 17']


@pytest.mark.parametrize('code', [75, 8, 137])
def test_a_job_that_is_cancelled_does_not_come_back(job, code):
  """Slurm tells the steps itself; the script waits for them, and starts none again."""
  folder, start = job
  (folder / 'wait').touch()
  running = start(code)
  until((folder / 'ready').exists)
  running.send_signal(signal.SIGTERM)
  time.sleep(0.1)
  (folder / 'end').touch()
  assert running.wait(PATIENCE) == code
  assert len((folder / 'calls').read_text().splitlines()) == 1


def test_the_cores_of_a_job_are_those_of_its_process(job):
  folder, start = job
  (folder / 'bin/srun').write_text('#!/bin/sh\necho "$SRUN_CPUS_PER_TASK" >"$PLAY/cores"\n')
  assert start(0, SLURM_CPUS_PER_TASK='16').wait(PATIENCE) == 0
  assert (folder / 'cores').read_text() == '16\n'


@pytest.mark.parametrize('restarts', [0, 1])
def test_a_job_that_comes_back_forgets_the_node_that_it_was_on(job, restarts):
  folder, start = job
  note = folder / 'r' / folders.CHECKPOINTS / layout.HOLDER
  note.parent.mkdir(parents=True)
  note.write_text('{}')
  assert start(0, SLURM_RESTART_COUNT=str(restarts)).wait(PATIENCE) == 0
  assert note.exists() == (not restarts)
