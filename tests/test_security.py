"""Files that mean harm: what they can be is refused, runs nothing, and reaches nothing."""

import ast
import copy
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from compacter_jax import adapter_file, t5, tensor_file
from compacter_jax.checkpoints import manifest, verify
from compacter_jax.errors import CompacterError, WeightsError
from compacter_jax.t5.config import from_hf
from experiments import schema
from experiments.configs import config_files, read_config
from tests.checkpoints.states import save

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob('compacter_jax/**/*.py'), *ROOT.glob('experiments/**/*.py')])


def watched(code, tmp_path):
  """Runs code under an audit hook in a process of its own; the events that must not be."""
  hook = """
import json, socket, sys, traceback
seen = []
LOCAL = int(socket.AF_UNIX)  # the pair of sockets of an event loop
def hook(event, args):
  network = event.startswith('socket.') and event not in ('socket.gethostname', 'socket.__new__')
  network |= event == 'socket.__new__' and int(args[1]) != LOCAL
  runs = event in ('pickle.find_class', 'subprocess.Popen', 'os.posix_spawn')
  runs |= event in ('os.system', 'os.exec')
  if network or runs:
    seen.append([event, repr(args)[:200], ''.join(traceback.format_stack(limit=6))])
sys.addaudithook(hook)
"""
  ends = f'\nopen({str(tmp_path / "seen.json")!r}, "w").write(json.dumps(seen))\n'
  (tmp_path / 'program.py').write_text(hook + code + ends)
  env = os.environ | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'}
  env.pop('HF_HUB_OFFLINE', None)
  command = [sys.executable, str(tmp_path / 'program.py')]
  done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
  assert not done.returncode, done.stderr
  return json.loads((tmp_path / 'seen.json').read_text())


RUN = """
from experiments import run, schema
from experiments.configs import HERE, read_config
config = read_config(HERE / 'quickstart.py')
config.steps, config.eval_every, config.save_every, config.optim.warmup = 2, 2, 1, 1
config.data.max_train, config.data.max_validation, config.data.max_test = 8, 8, 8
run.main(schema.job(config.to_dict()), 'w')
from experiments.verifying import verify
assert verify('w').code == 0
"""


def test_a_run_opens_no_socket_and_unpickles_nothing(tmp_path):
  """The quickstart, as small as can be, and the check of what it left."""
  assert watched(RUN, tmp_path) == []
  assert (tmp_path / 'w/results.json').exists()


@pytest.mark.parametrize(
  'harm',
  [
    'import socket\ntry: socket.create_connection(("127.0.0.1", 9), 1)\nexcept OSError: pass',
    'import pickle, os\npickle.loads(pickle.dumps(os.getcwd))',
    'import os\nos.system("true")',
  ],
)
def test_the_hook_sees_what_it_must(harm, tmp_path):
  assert watched(harm, tmp_path)


PICKLES = """
import os, pickle, pathlib, io, zipfile
from compacter_jax import adapter_file, t5, tensor_file
from compacter_jax.errors import WeightsError
class Call:
  def __init__(self, *call): self.call = call
  def __reduce__(self): return self.call[0], self.call[1:]
payloads = [Call(os.mkdir, 'canary'), Call(os.system, 'touch canary')]
payloads.append(Call(exec, 'open("canary", "w")'))
made = [pickle.dumps(payload, protocol) for payload in payloads for protocol in range(6)]
for content in list(made):
  inner = io.BytesIO()
  with zipfile.ZipFile(inner, 'w') as file:
    file.writestr('archive/data.pkl', content)
  made.append(inner.getvalue())
refused = 0
folder = pathlib.Path('t5')
for content in made:
  for name in 'x.safetensors', 'x.bin', 'x.pt', 'x.npz', 'x.msgpack', 'x.ckpt':
    pathlib.Path(name).write_bytes(content)
    try: tensor_file.read(name)
    except WeightsError: refused += 1
  for name, read in ('model.safetensors', t5.load), ('adapter.json', adapter_file.describe):
    (folder / name).write_bytes(content)
    try: read(folder)
    except WeightsError: refused += 1
    (folder / name).unlink()
  (folder / 'pytorch_model.bin').write_bytes(content)
  try: t5.load(folder)
  except WeightsError: refused += 1
assert refused == 9 * len(made) == 9 * 36, refused
assert not pathlib.Path('canary').exists()
"""


def test_no_pickle_runs_under_any_name(tmp_path):
  (tmp_path / 't5').mkdir()
  (tmp_path / 't5/config.json').write_text((t5.resolve('nano') / 'config.json').read_text())
  assert watched(PICKLES, tmp_path) == []


UNSAFE = {'pickle', 'cPickle', 'marshal', 'shelve', 'dill', 'cloudpickle', 'joblib', 'yaml'}


@pytest.mark.parametrize('file', SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_that_reads_code_is_imported_or_called(file):
  """And NumPy and ml_collections are not asked for what they would unpickle or write as code."""
  for node in ast.walk(ast.parse(file.read_text())):
    if isinstance(node, ast.Import | ast.ImportFrom):
      named = [node.module or ''] if isinstance(node, ast.ImportFrom) else []
      named += [alias.name for alias in node.names]
      assert not {name.partition('.')[0] for name in named} & UNSAFE, node.lineno
    if isinstance(node, ast.Attribute):
      assert node.attr not in ('to_yaml', 'to_json_best_effort', 'unsafe_load'), node.lineno
    if isinstance(node, ast.keyword) and node.arg in ('allow_pickle', 'trust_remote_code'):
      assert isinstance(node.value, ast.Constant) and node.value.value is False, node.value.lineno


def mutants(content, chance, tokens):
  """Endless mutants of some bytes: bits, bytes, tokens, parts moved, doubled or left out."""
  while True:
    out = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 6])):
      at, other = chance.randrange(len(out)), chance.randrange(len(out))
      kind = chance.randrange(6)
      if kind == 0:
        out[at] ^= 1 << chance.randrange(8)
      elif kind == 1:
        out[at] = chance.randrange(256)
      elif kind == 2:
        out[at : at + chance.randrange(12)] = chance.choice(tokens)
      elif kind == 3:
        del out[at : at + chance.randrange(1, 30)]
      elif kind == 4:
        out[at:at] = out[other : other + chance.randrange(1, 80)]
      else:
        out[at : at + 8] = chance.choice([0, 1, 2**31, 2**40, 2**63, 2**64 - 1]).to_bytes(
          8, 'little'
        )
      if not out:
        break
    yield bytes(out)


TOKENS = [b'{', b'}', b'[', b']', b',', b':', b'"', b'-1', b'0', b'99999999999999999999', b'1e999']
TOKENS += [
  b'null',
  b'true',
  b'NaN',
  b'\\u0000',
  b'\\ud800',
  b'"__metadata__"',
  b'"dtype"',
  b'"F32"',
]
TOKENS += [b'"BF16"', b'"shape":[]', b'"data_offsets":[0,0]', b'../../x', b'\xff\xfe', b' ' * 9]


def assert_headers_are_refused_or_true(folder, count, seed):
  """Each mutant: WeightsError, or tensors that lie in the file."""
  chance, taken = random.Random(seed), 0
  arrays = {'a': np.ones((2, 3), np.float32), 'b/c': np.ones(4, np.uint8), 'd': np.ones(0)}
  tensor_file.write(folder / 'x', arrays, {'format': 'pt'})
  source = mutants((folder / 'x').read_bytes(), chance, TOKENS)
  file = os.memfd_create('mutant')  # so many files are too many for a disk
  path = f'/proc/self/fd/{file}'
  for _ in range(count):
    content = next(source)
    os.ftruncate(file, 0)
    os.pwrite(file, content, 0)
    try:
      entries = tensor_file.header(path)
    except WeightsError as error:
      assert error.where == path
      continue
    taken += 1
    assert sum(entry.stop - entry.start for entry in entries.values()) <= len(content)
  os.close(file)
  assert count / 100 < taken < count / 2  # else the mutants are too wild, or too tame, to tell


def test_20_000_mutated_headers(tmp_path):
  assert_headers_are_refused_or_true(tmp_path, 20_000, 0)


@pytest.mark.soak
def test_1_000_000_mutated_headers(tmp_path):
  assert_headers_are_refused_or_true(tmp_path, 1_000_000, 1)


WILD = [None, True, False, -1, 0, 1, 7, 2**31, 2**64, -(10**30), 0.0, -0.5, 1e308, float('nan')]
WILD += [float('inf'), '', 'x', 'nan', '../..', '\0', '\ud800', 'a' * 9_999, '.*', '(', '[a', '3']
WILD += [[], {}, [1], ['a', None], {'a': 1}, (1, 2), [[[]]], b'x', {'name': 'compacter'}, object()]


def changed(value, chance):
  """A copy of nested settings in which something is replaced, left out, added or moved."""
  value = copy.deepcopy(value)
  for _ in range(chance.choice([1, 1, 2, 3])):
    inner = value
    while True:
      key = chance.choice(list(inner) or ['new'])
      if isinstance(inner.get(key), dict) and inner[key] and chance.random() < 0.8:
        inner = inner[key]
        continue
      break
    kind = chance.randrange(6)
    if kind == 0:
      inner.pop(key, None)
    elif kind == 1:
      inner[chance.choice([f'{key}s', '', 'lr', 7])] = chance.choice(WILD)
    elif kind == 2:
      inner[key] = copy.deepcopy(chance.choice(list(inner.values()) or [None]))
    else:
      inner[key] = chance.choice(WILD)
  return value


CONFIGS = [read_config(path).to_dict() for path in config_files()]


def assert_configs_are_refused_or_work(count, seed):
  chance, taken = random.Random(seed), 0
  for _ in range(count):
    config = changed(chance.choice(CONFIGS), chance)
    try:
      job = schema.job(config)
    except CompacterError as error:
      assert error.exit_code == 2, config
      continue
    taken += 1
    assert schema.job(schema.as_config(job)) == job
  assert count / 100 < taken < count / 2


def test_5_000_mutated_configs():
  assert_configs_are_refused_or_work(5_000, 0)


@pytest.mark.soak
def test_200_000_mutated_configs():
  assert_configs_are_refused_or_work(200_000, 1)


def test_5_000_mutated_configs_of_t5():
  chance = random.Random(0)
  config = json.loads((t5.resolve('nano') / 'config.json').read_text())
  taken = 0
  for _ in range(5_000):
    try:
      cfg = from_hf(changed(config, chance))
    except CompacterError:
      continue
    taken += 1
    assert t5.count(cfg) > 0
  assert 50 < taken < 4_000


def test_100_mutated_adapters(tmp_path):
  """Their description, without the hash, so that what is in it is looked at."""
  from compacter_jax.methods.compacter import Compacter
  from compacter_jax.model import Model

  cfg = t5.Config(vocab=8, d_model=8, d_kv=4, d_ff=8, heads=2, encoder_layers=1, decoder_layers=1)
  model, random_ = Model(cfg, Compacter(n=2, width=4)), random.Random(0)
  import jax

  frozen = t5.random_weights(cfg, jax.random.key(0))
  adapter_file.save(tmp_path, model, model.init(jax.random.key(0), frozen), 'base')
  path = tmp_path / adapter_file.DESCRIPTION
  described = json.loads(path.read_text())
  del described['sha256']
  taken = 0
  for _ in range(100):
    try:
      path.write_text(json.dumps(changed(described, random_), default=str))
    except TypeError:  # a key that JSON has not
      continue
    try:
      adapter_file.check(tmp_path)
    except WeightsError:
      continue
    taken += 1
  assert 0 < taken < 70


NAMES = [
  '../x',
  '/etc/passwd',
  'a/../../x',
  'C:\\x',
  'x\0y',
  '\u2024\u2024/x',
  'a' * 300,
  '.',
  '',
  '\n',
]


@pytest.mark.parametrize('name', NAMES)
def test_names_in_files_never_become_paths_elsewhere(name, tmp_path):
  inner = tmp_path / 'in'
  inner.mkdir()
  nano = t5.resolve('nano')
  (inner / 'config.json').write_text((nano / 'config.json').read_text())
  (tmp_path / 'x').write_bytes((nano / 'model.safetensors').read_bytes())
  index = {'weight_map': {'shared.weight': name, 'other': f'{name}.safetensors'}}
  (inner / t5.files.INDEX).write_text(json.dumps(index))
  with pytest.raises(WeightsError, match='index names no files'):
    t5.load(inner)
  tensor_file.write(inner / 'tensors', {name: np.ones(2)})
  assert list(tensor_file.read(inner / 'tensors')) == [name]
  assert {path.name for path in tmp_path.iterdir()} == {'in', 'x'}


@pytest.mark.parametrize('name', ['../precious', '/etc/passwd', 'arrays/../../precious'])
def test_the_paths_of_a_manifest_are_never_opened(name, tmp_path, monkeypatch):
  run = save(tmp_path / 'run', {1: None})
  (tmp_path / 'precious').write_text('secret')
  path = run / '1/manifest.json'
  described = manifest.read(path)
  described.files[name] = {'bytes': 6, 'sha256': '0' * 64}
  path.write_bytes(manifest.encode(described))
  opened = []
  real = os.open
  monkeypatch.setattr(
    os, 'open', lambda path, *args, **kw: opened.append(path) or real(path, *args, **kw)
  )
  assert verify(run)[0].reason == 'missing-file'
  assert opened and not [each for each in opened if 'precious' in str(each) or 'etc' in str(each)]


def test_a_bomb_is_refused_before_it_goes_off(tmp_path):
  """100 MB of zeros in 100 KB, under the name of a weights file: no archive is ever opened."""
  path = tmp_path / 'model.safetensors'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
    file.writestr('a.npy', bytes(100_000_000))
  assert path.stat().st_size < 200_000
  with pytest.raises(WeightsError, match='zip archive') as caught:
    tensor_file.read(path)
  assert caught.value.exit_code == 4
