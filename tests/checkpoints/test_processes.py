"""Two processes of one program on one file system: one writes the names, both have the arrays."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from compacter_jax.checkpoints import verify
from tests.checkpoints.states import names

ROOT = Path(__file__).parents[2]

PROGRAM = """
import json, sys
import jax
jax.config.update('jax_cpu_collectives_implementation', 'gloo')
jax.distributed.initialize(sys.argv[2], 2, int(sys.argv[3]))
import jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from compacter_jax.checkpoints import Checkpoints
from compacter_jax.errors import CompacterError
folder, part = sys.argv[1], sys.argv[4]
mesh = Mesh(np.asarray(jax.devices()), ('x',))
split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (('x',), ()))

def state(step):
  words = np.random.default_rng(step).integers(0, 2**32, (8, 5), np.uint32).view(np.float32)
  lay = lambda value, how: jax.make_array_from_callback(value.shape, how, lambda i: value[i])
  return {'split': lay(words, split), 'whole': lay(words[:3], whole), 'own': jnp.int32(step)}

def same(one, two):
  bits = lambda a: [np.asarray(s.data).tobytes() for s in a.addressable_shards]
  return all(bits(one[name]) == bits(two[name]) for name in one)

told = {}
try:
  identity = {'run': 2 if part == 'other' else 1}
  with Checkpoints(folder, identity, keep_best=0, say=lambda text: None).claim() as checkpoints:
    found = checkpoints.restore(state(0))
    told['step'] = found and found.step
    if found:
      told['same'] = same(found.state, state(found.step))
      told['bad'] = [(each.step, each.reason) for each in found.quarantined]
    if part == 'save':
      for step in range(1, 4):
        checkpoints.save(step, state(step), {'at': step})
except CompacterError as error:
  told['error'] = [type(error).__name__, error.what]
print(json.dumps(told))
"""


def both(folder, part):
  """What the two processes tell."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  flags = '--xla_force_host_platform_device_count=2'
  env = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': flags, 'PYTHONPATH': str(ROOT)}
  runs = [
    subprocess.Popen(
      [sys.executable, '-c', PROGRAM, str(folder), address, str(k), part],
      env=env,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for k in range(2)
  ]
  try:
    told = [run.communicate(timeout=120) for run in runs]
  finally:
    for run in runs:
      run.kill()
  assert not any(run.returncode for run in runs), [errors[-3000:] for _, errors in told]
  return [json.loads(out.splitlines()[-1]) for out, _ in told]


def test_two_processes_save_and_go_on(tmp_path):
  folder = tmp_path / 'run'
  assert both(folder, 'save') == [{'step': None}] * 2
  assert names(folder) == {'2', '3'}
  assert not any(finding.reason for finding in verify(folder))
  (folder / '3/arrays/_METADATA').write_text('')
  told = {'step': 2, 'same': True, 'bad': [[3, 'other-size']]}
  assert both(folder, 'restore') == [told] * 2
  error = {'error': ['ConfigError', 'These checkpoints are of another run.']}
  assert both(folder, 'other') == [error] * 2
  (folder / '2/manifest.json').unlink()
  error = {'error': ['WeightsError', 'Of the checkpoints of this run none can be used.']}
  assert both(folder, 'restore') == [error] * 2
