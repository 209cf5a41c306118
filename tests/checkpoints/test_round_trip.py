"""What is saved comes back to the bit, wherever it lies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from compacter_jax import optim, train
from compacter_jax.method import Tuned
from tests.checkpoints.states import BITS, IDENTITY, bits, names, opened, restored, save, state

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures('standard_promotion')


@pytest.mark.parametrize('like', [state, lambda: jax.eval_shape(state)])
def test_every_bit_comes_back(tmp_path, like):
  save(tmp_path, {7: 0.25})
  with opened(tmp_path).claim() as checkpoints:
    found = checkpoints.restore(like())
  assert jax.tree.structure(found.state) == jax.tree.structure(state())
  assert bits(found.state) == bits(state())
  assert np.array_equal(np.asarray(found.state.tuned.weights['a/b']).view(np.uint32), BITS)
  assert (found.step, found.about, found.score) == (7, {'at': 7}, 0.25)
  assert found.quarantined == ()


@pytest.mark.parametrize('optimizer', optim.OPTIMIZERS)
def test_the_state_of_every_optimizer_comes_back(tmp_path, optimizer):
  built = optim.build(optim.Optim(optimizer), 10)
  tuned = Tuned(weights={'w': jax.random.normal(jax.random.key(0), (130, 140)), 'v': jnp.ones(3)})
  before = train.start(tuned, built)
  _, opt = built.update(tuned, before.opt, tuned)
  before = before.replace(opt=opt, step=jnp.int32(1))
  with opened(tmp_path).claim() as checkpoints:
    assert checkpoints.restore(before) is None
    checkpoints.save(1, before)
    checkpoints.wait()
    back = checkpoints.restore(jax.eval_shape(lambda: before)).state
  assert jax.tree.structure(back) == jax.tree.structure(before)
  assert bits(back) == bits(before)


def test_a_state_may_be_given_up_at_once(tmp_path):
  """The next step overwrites the arrays while they are still being written."""
  change = jax.jit(lambda tree: jax.tree.map(lambda a: a + 1, tree), donate_argnums=0)
  held = change({'w': jnp.zeros((300, 300)), 'n': jnp.int32(0)})
  with opened(tmp_path, keep_last=4).claim() as checkpoints:
    checkpoints.restore(held)
    for step in range(1, 4):
      want = bits(held)
      checkpoints.save(step, held)
      for _ in range(50):
        held = change(held)
      jax.block_until_ready(held)
      checkpoints.wait()
      assert bits(checkpoints.restore(held).state) == want


def test_a_state_of_no_bytes_comes_back(tmp_path):
  empty = {'none': jnp.zeros((0, 3)), 'nothing': ()}
  with opened(tmp_path).claim() as checkpoints:
    checkpoints.restore(empty)
    checkpoints.save(0, empty)
    checkpoints.wait()
    assert bits(checkpoints.restore(empty).state) == bits(empty)


def test_arrays_lie_where_those_of_like_do(tmp_path):
  """Eight devices, fewer, eight; and arrays that are bound to none stay so, to go with any others.

  Each time what was read is saved anew, so that no bit is lost on any way there and back.
  """
  value = jnp.asarray(np.random.default_rng(0).standard_normal((24, 8), np.float32))
  want = bits({'w': value})
  for step, count in enumerate((8, 1, 8, 2, 8, 3, 8, 4, 8), 1):
    mesh = Mesh(np.asarray(jax.devices()[:count]), ('x',))
    split = NamedSharding(mesh, PartitionSpec('x'))
    here = {'w': jax.device_put(value, split)}
    with opened(tmp_path).claim() as checkpoints:
      for like in here, {'w': jax.ShapeDtypeStruct((24, 8), jnp.float32, sharding=split)}:
        found = checkpoints.restore(like)
        assert (found.step if found else 0) == step - 1
        if found:
          assert found.state['w'].sharding == split
          assert bits(found.state) == want
          here = found.state
      checkpoints.save(step, here)
  with opened(tmp_path).claim() as checkpoints:
    found = checkpoints.restore({'w': value})
  assert not value.committed and not found.state['w'].committed
  assert bits(found.state) == want


ON_DEVICES = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from compacter_jax.checkpoints import Checkpoints
folder, step = sys.argv[1], int(sys.argv[2])
split = NamedSharding(Mesh(np.asarray(jax.devices()), ('x',)), PartitionSpec('x'))
words = np.random.default_rng(3).integers(0, 2**32, (16, 9), np.uint32)
value = {'w': jax.device_put(words.view(np.float32), split), 'n': jnp.int32(5)}
with Checkpoints(folder, {'run': 1}).claim() as checkpoints:
  like = {'w': jax.ShapeDtypeStruct((16, 9), jnp.float32, sharding=split), 'n': value['n']}
  found = checkpoints.restore(like)
  same = found is None or np.asarray(found.state['w']).tobytes() == words.tobytes()
  where = found is None or found.state['w'].sharding == split
  checkpoints.save(step, found.state if found else value)
print(json.dumps([jax.device_count(), found and found.step, same, where]))
"""


def test_a_run_goes_on_with_fewer_devices(tmp_path):
  told = []
  for step, devices in enumerate((8, 2, 1), 1):
    flags = f'--xla_force_host_platform_device_count={devices}'
    run = subprocess.run(
      [sys.executable, '-c', ON_DEVICES, str(tmp_path / 'run'), str(step)],
      env={**os.environ, 'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT)},
      capture_output=True,
      text=True,
    )
    assert not run.returncode, run.stderr
    told.append(json.loads(run.stdout))
  assert told == [[8, None, True, True], [2, 1, True, True], [1, 2, True, True]]


def test_the_manifest_says_what_a_step_is_of(tmp_path):
  save(tmp_path, {7: 0.5})
  found = json.loads((tmp_path / '7/manifest.json').read_text())['manifest']
  assert found['identity'] == IDENTITY
  assert found['topology'] == {
    'platform': 'cpu',
    'device_kind': jax.devices()[0].device_kind,
    'devices': jax.device_count(),
    'processes': 1,
  }
  assert {'jax', 'orbax-checkpoint'} <= found['versions'].keys()
  assert len(found['run']) == 16
  assert [".tuned.weights['a.b']", [8, 16], 'float32'] in found['tree']
  there = (path for path in (tmp_path / '7').rglob('*') if path.is_file())
  there = {str(path.relative_to(tmp_path / '7')) for path in there}
  assert found['files'].keys() == there - {'manifest.json'} != set()


def test_nothing_is_left_beside_the_steps(tmp_path):
  save(tmp_path, {1: None, 2: None})
  assert names(tmp_path) == {'1', '2'}
  assert restored(tmp_path).step == 2
