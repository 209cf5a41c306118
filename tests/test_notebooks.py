"""The notebooks of docs/ run from the first cell to the last, and show what they really gave."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / 'docs').glob('**/*.ipynb'))

each = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)


def cells(path):
  found = json.loads(path.read_text())['cells']
  return [cell for cell in found if cell['cell_type'] == 'code']


def source(path):
  return '\n\n'.join(''.join(cell['source']) for cell in cells(path))


def test_there_are_notebooks():
  assert NOTEBOOKS


@each
def test_they_were_run_in_order_without_an_error(path):
  assert [cell['execution_count'] for cell in cells(path)] == list(range(1, len(cells(path)) + 1))
  for cell in cells(path):
    assert cell['outputs']
    assert not [out for out in cell['outputs'] if out['output_type'] == 'error']
    assert not [out for out in cell['outputs'] if out.get('name') == 'stderr']
  # What a person's machine is called is nobody's business.
  assert '/home' not in path.read_text() and '/tmp' not in path.read_text()


@each
def test_they_are_python_alone(path):
  compile(source(path), str(path), 'exec')  # no magics, which need a notebook to run


@pytest.mark.notebook
@each
def test_they_run(path, tmp_path):
  env = os.environ | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'HF_HUB_OFFLINE': '1'}
  env |= {'MPLBACKEND': 'agg'}
  command = [sys.executable, '-W', 'error', '-c', source(path)]
  done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
  assert not done.returncode, done.stderr
