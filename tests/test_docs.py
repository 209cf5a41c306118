"""What the documents show runs, and what they name exists."""

import dataclasses
import importlib
import math
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from compacter_jax import methods, optim, t5, train
from compacter_jax.adapter_file import fingerprint, load, save
from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError
from compacter_jax.method import fields, is_spec
from compacter_jax.model import Model
from compacter_jax.t5.sites import sites
from experiments import count, schema
from experiments.configs import config_files, read_config
from tests.conftest import TINY, draw

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md')])


def test_the_readme_has_two_commands_that_ci_and_newcomers_share():
  readme = (ROOT / 'README.md').read_text()
  assert re.findall(r'<!-- command: (\w+) -->', readme) == ['quickstart', 'tests']
  assert 'command: tests' in (ROOT / '.ci/run').read_text()


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page, tmp_path):
  blocks = re.findall(r'```python\n(.*?)```', page.read_text(), re.DOTALL)
  if blocks:
    code = '\n'.join(blocks)
    command = [sys.executable, '-W', 'error', '-c', code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert not done.returncode, done.stderr


def environment():
  import os

  return os.environ | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'HF_HUB_OFFLINE': '1'}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
  for target in re.findall(r'\]\((?!https?:)([^)#]+)', page.read_text()):
    assert (page.parent / target).exists(), target


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_modules_and_files_that_are_named_exist(page):
  text = page.read_text()
  for module in set(re.findall(r'python -m (experiments[\w.]*\w)', text)):
    path = ROOT / module.replace('.', '/')
    assert path.with_suffix('.py').exists() or (path / '__main__.py').exists(), module
  for path in set(re.findall(r'(?:experiments|tests|compacter_jax)/[\w/.]+\.(?:py|sh|md)', text)):
    inside = path.removeprefix('compacter_jax/')  # of a clone, seen from its parent
    if 'NAME' not in path:
      assert (ROOT / path).exists() or (ROOT / inside).exists(), path


METHODS = (ROOT / 'docs/methods.md').read_text()
SECTIONS = dict(re.findall(r'^## ([a-z]\w*)$(.*?)(?=^## |\Z)', METHODS, re.DOTALL | re.MULTILINE))
# '- `a.py`, `b.py`: `formula`', over several lines and with words between.
FORMULAS = {
  name: formula
  for item in re.findall(r'^- (`\w+\.py`.*?:\s+`[^`]+`)$', METHODS, re.DOTALL | re.MULTILINE)
  for formula in re.findall(r'`([^`]+)`$', item)
  for name in re.findall(r'`(\w+)\.py`', item)
}


def test_every_method_has_a_section_and_every_config_a_formula():
  assert list(SECTIONS) == methods.names()
  assert sorted(FORMULAS) == [path.stem for path in config_files()]


UNEVEN = dataclasses.replace(t5.size_named('flan-t5-base'), heads=10, decoder_layers=14)


@pytest.mark.parametrize('cfg', [t5.size_named('t5-base'), UNEVEN], ids=['base', 'uneven'])
@pytest.mark.parametrize('config', FORMULAS)
def test_the_formulas_count_what_is_declared(config, cfg):
  path = ROOT / f'experiments/configs/{config}.py'
  method = methods.from_config(read_config(path).method.to_dict())
  parts = dict(method.parts).values() if isinstance(method, chain) else [method]
  known = {k: v for part in parts for k, v in fields(part).items() if v is not None}
  if 'reduction' in known:
    known['M'] = known.get('width', cfg.d_model // known['reduction'])
  layers = {'Le': cfg.encoder_layers, 'Ld': cfg.decoder_layers}
  known |= layers | {'L': sum(layers.values()), 'A': layers['Le'] + 2 * layers['Ld']}
  known |= {'D': cfg.d_model, 'F': cfg.d_ff, 'I': cfg.heads * cfg.d_kv, 'H': cfg.heads}
  known |= {'V': cfg.vocab, 'W': 1 + cfg.gated, 'len': len, '__builtins__': {}}
  known['LN'] = cfg.d_model * (2 * layers['Le'] + 3 * layers['Ld'] + 2)
  known['div'] = lambda x: max(i for i in range(1, math.isqrt(x) + 1) if x % i == 0)
  untied = 0 if cfg.tied_head or config != 'full' else cfg.vocab * cfg.d_model
  # Of the project's own page.
  assert eval(FORMULAS[config], known) + untied == Model(cfg, method).count()  # noqa: S307


def test_the_formula_of_the_norms():
  assert '`LN = D * (2 * Le + 3 * Ld + 2)`' in METHODS


@pytest.mark.parametrize('name', methods.names())
def test_sites_and_folding_are_as_the_page_says(name):
  cls, section = methods.method_class(name), SECTIONS[name]
  default = {field.name: field.default for field in dataclasses.fields(cls)}
  known = (
    '`' + default['where'] + '`' if 'edit' in vars(cls) or 'attend' in vars(cls) else 'none; it'
  )
  assert f'- Sites: {known}' in section
  small = {'width': 4, 'rank': 2, 'length': 3, 'dimension': 200}
  model = Model(TINY['t5'], cls(**{k: v for k, v in small.items() if k in default}))
  zeros = lambda spec: jnp.zeros(spec.shape)
  try:
    model.fold(draw(model.cfg), jax.tree.map(zeros, model.specs(), is_leaf=is_spec))
    folds = 'yes'
  except TypeError:
    folds = 'no'
  assert re.findall(r'^- Folds: (\w+)', section, re.MULTILINE) == [folds]


def test_the_drawing_names_every_site():
  (drawing,) = re.findall(r'```text\n(.*?)```', METHODS, re.DOTALL)
  for cfg in TINY.values():
    for path in sites(cfg):
      stack, _, place = path.partition('/layers/')
      if not place:
        assert f'`{path}`' in METHODS
        continue
      side = [line[:39] if stack == 'encoder' else line[39:] for line in drawing.splitlines()]
      module, _, part = place.rpartition('/')
      lines = [line.partition('<-')[0].split('(k, v')[0] for line in side if module in line]
      assert any(f'/{part}' in line if module else part in line.split() for line in lines), path


@pytest.fixture
def example(tmp_path, monkeypatch):
  """The files of docs/add_a_method.md where a user would put them."""
  page = (ROOT / 'docs/add_a_method.md').read_text()
  files = re.findall(r'^`mine/(\S+)`\n\n```py\n(.*?)```', page, re.DOTALL | re.MULTILINE)
  (tmp_path / 'methods').mkdir()
  for name, text in files:
    (tmp_path / name).write_text(text)
  monkeypatch.setattr(methods, '__path__', list(methods.__path__))
  yield tmp_path
  sys.modules.pop('compacter_jax.methods.gate', None)


def test_the_example_of_a_method_works_as_a_user_would_have_it(example, monkeypatch):
  with pytest.raises(ConfigError, match='gate'):
    methods.load('gate')
  settings = read_config(example / 'gate_config.py')  # from here on it is found
  table = count.count('t5-base', None, [example / 'gate_config.py'], 8)
  assert table['rows'][0]['trained'] == 60

  found = dict(vars(importlib.import_module('compacter_jax.methods.gate')))
  namespace = {}
  exec(compile((example / 'test_gate.py').read_text(), 'test_gate.py', 'exec'), namespace)  # noqa: S102
  tests = [value for name, value in namespace.items() if name.startswith('test_')]
  assert len(tests) == 2
  for test in tests:
    test()

  job = schema.job(settings.to_dict())
  assert isinstance(job.method, found['Gate'])
  model = Model(TINY['t5'], job.method)
  frozen = draw(model.cfg)
  with jax.numpy_dtype_promotion('standard'):  # optax needs it
    optimizer = optim.build(dataclasses.replace(job.optim, warmup=0), 10)
    state = train.start(model.init(jax.random.key(0), frozen), optimizer)
    ids = jnp.arange(2, 10).reshape(2, 4)
    step, losses = train.make_step(model, optimizer, dropout=False), []
    for _ in range(3):
      state, metrics = step(state, frozen, {'source': ids, 'target': ids})
      losses.append(float(metrics['loss']))
  assert losses[-1] < losses[0]
  save(example / 'adapter', model, state.tuned, fingerprint(frozen))
  loaded, _ = load(example / 'adapter', model.cfg, frozen)
  assert loaded.method == job.method
