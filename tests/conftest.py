"""What every test runs under, and small T5s of every kind."""

import gc
import itertools
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax import t5
from compacter_jax.t5.config import from_hf, shapes
from experiments.record_t5 import SHAPES
from experiments.soak import disk

# Before the first use of a backend. Eight devices, so that sharding is tested on any machine;
# strict promotion, so that no bfloat16 activation becomes float32 unasked; and LLVM spared, which
# takes longer over programs this small than they run.
jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_disable_most_optimizations', True)
# Flags of jaxlib 0.10; newer ones may not know them and would abort. Emitters of fusions take half
# the time of these tests, and cutting programs this small into parts a sixth of the rest.
if jax.__version_info__ < (0, 11):
  fast = '--xla_cpu_use_fusion_emitters=false', '--xla_cpu_parallel_codegen_split_count=1'
  os.environ['XLA_FLAGS'] = ' '.join([os.environ.get('XLA_FLAGS', ''), *fast]).strip()

# Tracing makes millions of objects that go by themselves; looking through them takes a twentieth.
gc.set_threshold(100_000, 20, 100)

# Each compiled program is a few memory maps, of which Linux grants a process 65,530; without more,
# the compiler crashes.
MAPS, MOST = Path('/proc/self/maps'), 40_000
_tests = itertools.count()


# Of minutes. They go first, for else one process is at work on them while the others have ended.
LONG = 'test_laws', 'test_hosts', 'test_soak', 'test_resume', 'test_placement', 'test_pretraining'


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  """A file is one process's: else both would make its fixtures and compile its programs."""
  from xdist.scheduler import LoadFileScheduling

  config.option.loadscopereorder = False  # by the number of tests, of which long ones have few
  return LoadFileScheduling(config, log)


def pytest_collection_modifyitems(items):
  """The long files first, all else as it was."""
  places = {name: place for place, name in enumerate(LONG)}
  items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))


TINY = {name: from_hf(hf) for name, hf in SHAPES.items()}


def draw(cfg):
  """Weights in which everything matters: as T5 draws them, norms and positions hardly do."""
  rng = np.random.default_rng(0)
  out = {}
  for path, shape in shapes(cfg).items():
    weight = rng.standard_normal(shape, np.float32)
    if path.endswith('norm/scale'):
      weight = 1 + 0.3 * weight
    elif path.endswith('kernel'):
      weight /= shape[-2] ** 0.5 * (cfg.d_kv**0.5 if path.endswith('q/kernel') else 1)
    out[path] = jnp.asarray(weight, jnp.float32)
  return out


def save_small(folder, cfg):
  """A T5 of that shape in Hugging Face's format, with the vocabulary that is shipped."""
  random = np.random.default_rng(0)
  drawn = {p: random.normal(size=s).astype(np.float32) for p, s in shapes(cfg).items()}
  t5.save(folder, cfg, drawn)
  shutil.copy(t5.resolve('nano') / 'spiece.model', folder)
  return folder


@pytest.fixture(scope='session', autouse=True)
def caches(tmp_path_factory):
  """Keeps tests, and the programs they start, out of the user's own folder for caches."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('caches')))
    yield


@pytest.fixture(scope='module')
def checkpoints_stay():
  """Those of runs that have ended, so that their last states can be compared."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr('experiments.leftovers.clear', lambda folder: None)
    yield


@pytest.fixture(scope='session')
def base(tmp_path_factory):
  """A small T5 with the shipped vocabulary, in Hugging Face's format."""
  sizes = {'d_model': 32, 'd_kv': 8, 'd_ff': 16, 'heads': 2}
  cfg = t5.Config(vocab=8_192, encoder_layers=1, decoder_layers=1, **sizes)
  return save_small(tmp_path_factory.mktemp('base'), cfg)


@pytest.fixture(scope='session')
def shim(tmp_path_factory):
  """The library of `experiments.soak.disk`, which makes a disk fail, to load before a program."""
  library = disk.library(tmp_path_factory.mktemp('shim'))
  if not library:
    pytest.skip('calls of the file system are cut off with a C compiler on Linux only')
  return library


@pytest.fixture
def young_garbage():
  """For tests that collect garbage over and over: what is there already is looked at once."""
  gc.collect()
  gc.freeze()
  yield
  gc.unfreeze()


@pytest.fixture
def standard_promotion():
  """For optax, which multiplies floats by integer counts: the strict promotion refuses that."""
  with jax.numpy_dtype_promotion('standard'):
    yield


@pytest.fixture(autouse=True)
def memory_maps():
  """Forgets compiled programs before there are too many."""
  yield
  if next(_tests) % 20 == 0 and MAPS.exists() and MAPS.read_bytes().count(b'\n') > MOST:
    jax.clear_caches()


@pytest.fixture(scope='session', params=TINY)
def tiny(request):
  """The Config of a small T5, of each kind in turn."""
  return TINY[request.param]


@pytest.fixture(scope='session')
def tiny_weights(tiny):
  """Weights for `tiny`."""
  return draw(tiny)
