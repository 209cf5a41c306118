"""Fine-tuning runs of a tiny T5, in this process and in others, and what they leave."""

import json
import os
import re
import subprocess
import sys
import time

from compacter_jax import tensor_file
from experiments import schema
from experiments.configs import HERE, read_config
from experiments.soak.runs import ROOT, SAME, SPEEDS, last_state

CONFIG = HERE / 'compacter.py'
CHANGES = {
  'data.task': 'quickstart',
  'data.max_train': 20,  # so that a batch of 8 runs over the border of an epoch
  'data.max_validation': 16,
  'data.max_test': 16,
  'batch_size': 8,
  'accumulate': 2,
  'steps': 11,
  'eval_every': 4,
  'save_every': 3,
  'log_every': 2,
  'optim.warmup': 1,
  'mesh.devices': 1,
  'method.adapters.width': 8,
}


def job(base, **changes):
  config = read_config(CONFIG)
  config.update_from_flattened_dict(CHANGES | changes | {'model': str(base)})
  return schema.job(config.to_dict())


def notes(folder):
  """The lines of metrics.jsonl but for the speeds, which differ from run to run."""
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  return [{k: v for k, v in json.loads(line).items() if k not in SPEEDS} for line in lines]


def adapter(folder):
  """The arrays that a run left."""
  return tensor_file.read(folder / 'adapter/adapter.safetensors')


def results(folder):
  return json.loads((folder / 'results.json').read_text())


def assert_same(folder, whole):
  """Two runs that went alike, to the bit."""
  assert notes(folder) == notes(whole)
  arrays = [adapter(each) for each in (folder, whole)]
  assert arrays[0].keys() == arrays[1].keys()
  for name in arrays[0]:
    assert arrays[0][name].tobytes() == arrays[1][name].tobytes(), name
  told = [results(each) for each in (folder, whole)]
  for name in SAME:
    assert told[0][name] == told[1][name]
  # Of runs whose checkpoints stay (`checkpoints_stay`), the state behind the last step.
  assert last_state(folder / 'checkpoints') == last_state(whole / 'checkpoints')


class Command:
  """`experiments.run` in a process of its own, whose output goes to a file."""

  def __init__(
    self, changes, out, log, program=('-m', 'experiments.run'), flags=(), env=(), config=CONFIG
  ):
    given = [f'--config={config}', *(f'--config.{k}={v}' for k, v in changes.items())]
    args = [sys.executable, *program, *given, f'--workdir={out}', *flags]
    own = {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1'}
    self._log = log
    with log.open('w') as file:
      how = {'stdout': file, 'stderr': subprocess.STDOUT, 'cwd': ROOT}
      self._process = subprocess.Popen(args, **how, env=os.environ | own | dict(env))

  def until(self, pattern):
    """Waits for a line."""
    while not re.search(pattern, self.told(), re.MULTILINE):
      assert self._process.poll() is None, f'ended before {pattern}: {self.told()}'
      time.sleep(0.05)

  def told(self):
    return self._log.read_text()

  def send(self, number):
    self._process.send_signal(number)

  def ended(self):
    """The exit code; a process that hangs is ended."""
    try:
      return self._process.wait(timeout=180)
    finally:
      self.kill()

  def since(self, mark):
    """Seconds from a time of the clock that it told behind such words."""
    return time.time() - float(re.search(rf'^{mark} (\S+)', self.told(), re.MULTILINE)[1])

  def kill(self):
    self._process.kill()
    self._process.wait()
