"""Two processes of one program on one file system: one writes the names, both have the arrays."""

import json

from compacter_jax.checkpoints import verify
from tests import two_processes
from tests.checkpoints.states import names

PROGRAM = """
import jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from compacter_jax.checkpoints import Checkpoints
from compacter_jax.errors import CompacterError
folder, part = sys.argv[3:]
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
  return [json.loads(line) for line in two_processes.last_lines(PROGRAM, folder, part)]


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
