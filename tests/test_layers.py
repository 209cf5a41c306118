"""The layout is the architecture: imports point down only, and each library has its place."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob('compacter_jax/**/*.py'), *ROOT.glob('experiments/**/*.py')])

# From the ground up. A file may import from lower rows; a folder is free within itself.
ROWS = [
  {'errors', 'inits', 'weights', 'squad', 'narrow', 'partition', 'hub_names', 'divisors'},
  {'settings', 'hypercomplex', 'fastfood', 'bottleneck', 'metrics', 'tensor_file', 'patterns'},
  {'sealed', 'method', 'generation_metrics', 'weighted_metrics'},
  {'graft', 'chaining', 'bootstrap', 'nonfinite', 'leaps'},
  {'checkpoints'},
  {'t5', 'methods'},  # blind to each other
  {'model', 'sharding', 'optim', 'data'},
  {'adapter_file'},
  {'evaluate', 'train'},
  {'placement'},
  {'experiments'},
]
ROW = {name: row for row, names in enumerate(ROWS) for name in names}

# Where else than in experiments/ a library may be imported: files, or folders. Others are nowhere.
LINEN = {'t5', 'hypercomplex', 'bottleneck', 'method', 'methods'}
TOKENIZERS = {'data', 't5/hub'}
PLACES = {
  'flax.linen': LINEN,
  'flax': LINEN | {'graft', 'model', 'train'},
  'optax': {'model', 'optim', 'placement', 'train'},
  'transformers': TOKENIZERS,
  'sentencepiece': TOKENIZERS,
  'huggingface_hub': TOKENIZERS,
  'tensorflow_datasets': {'data'},
  'requests': {'data/preparing'},
  'filelock': {'data/preparing', 'checkpoints/lock'},
  'orbax': {'checkpoints/arrays'},
  'scipy': {'metrics', 'fastfood'},
  'sklearn': {'metrics'},
  'rouge_score': {'generation_metrics'},
  'sacrebleu': {'generation_metrics', 'weighted_metrics'},
  'pyarrow': {'data'},
  'grain': {'data'},
  'ml_dtypes': {'tensor_file', 't5/files'},
}
ANYWHERE = {'jax', 'numpy'}
LIMIT = 300


def place(file):
  """'compacter_jax/t5/hub.py' -> ('t5', 't5/hub'); of experiments, always the first."""
  parts = file.relative_to(ROOT).with_suffix('').parts
  if parts[0] == 'experiments':
    return 'experiments', 'experiments'
  return parts[1], '/'.join(parts[1:])


def imports(file):
  """Every import of a file with its line, as dotted names."""
  for node in ast.walk(ast.parse(file.read_text())):
    if isinstance(node, ast.Import):
      yield from ((node.lineno, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{file}:{node.lineno}: relative import'
      yield from ((node.lineno, f'{node.module}.{alias.name}') for alias in node.names)


def every(files):
  return pytest.mark.parametrize('file', files, ids=[str(f.relative_to(ROOT)) for f in files])


def test_every_file_has_a_row():
  assert {place(file)[0] for file in FILES} - {'__init__'} == set(ROW)


@every(FILES)
def test_arrows_point_down(file):
  home, _ = place(file)
  for line, name in imports(file):
    root, _, rest = name.partition('.')
    other = rest.partition('.')[0] if root == 'compacter_jax' else root
    # The package's own __init__ loads what it names when that is used; its version is for all.
    if other in ROW and other != home and home != '__init__':
      assert ROW[other] < ROW[home], f'{file.name}:{line}: {home} may not import {other}'


@every([file for file in FILES if place(file)[0] != 'experiments'])
def test_libraries_stay_in_their_places(file):
  home, path = place(file)
  for line, name in imports(file):
    root = name.partition('.')[0]
    if root in sys.stdlib_module_names or root in ANYWHERE | {'compacter_jax'}:
      continue
    library = 'flax.linen' if name.startswith('flax.linen') else root
    assert {home, path} & PLACES.get(library, set()), f'{file.name}:{line}: {library} is not for it'


@every(FILES)
def test_modules_are_small_and_named_for_what_they_do(file):
  assert len(file.read_text().splitlines()) <= LIMIT
  assert not {'utils', 'util', 'helpers', 'common', 'misc'} & set(file.with_suffix('').parts)


def test_the_checks_see_what_they_must(tmp_path):
  source = 'import os.path\nfrom flax import linen as nn\ndef f():\n  import torch\n'
  (tmp_path / 'file.py').write_text(source)
  assert [name for _, name in imports(tmp_path / 'file.py')] == ['os.path', 'flax.linen', 'torch']


@every(FILES)
def test_nothing_rests_on_what_optimised_python_leaves_out(file):
  """`python -O` removes assert and what is under __debug__: nothing that holds may be there."""
  nodes = list(ast.walk(ast.parse(file.read_text())))
  assert not [node.lineno for node in nodes if isinstance(node, ast.Assert)]
  assert not [node for node in nodes if isinstance(node, ast.Name) and node.id == '__debug__']
