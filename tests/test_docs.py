"""What the documents show runs, and what they name exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert (ROOT / (module.replace('.', '/') + '.py')).exists(), module
  for path in set(re.findall(r'(?:experiments|tests|compacter_jax)/[\w/.]+\.(?:py|sh|md)', text)):
    if 'NAME' not in path:
      assert (ROOT / path).exists(), path
