"""The benchmark of saving runs, and a save of an adapter hardly keeps the loop."""

import re
import statistics
import threading

import pytest

from compacter_jax import methods, t5
from compacter_jax.checkpoints import arrays
from compacter_jax.model import Model
from experiments.benchmarks import saving
from experiments.configs import HERE, read_config

PROMISED = 50  # milliseconds


def method(name):
  return methods.from_config(read_config(HERE / f'{name}.py').method.to_dict())


def test_the_table(capsys):
  saving.main(['--configs', 'compacter', '--rounds=1'])
  (row,) = re.findall(r'^\| compacter \| (.*) \|$', capsys.readouterr().out, re.MULTILINE)
  cells = dict(
    zip(saving.CELLS, (float(x.replace(',', '')) for x in row.split(' | ')), strict=True)
  )
  assert min(cells.values()) > 0 and cells['own'] < cells['blocked'] <= cells['worst']


@pytest.mark.parametrize('name', ['compacter', 'adapter'])
def test_a_save_of_an_adapter_hardly_keeps_the_loop(tmp_path, monkeypatch, name):
  """Nothing is written meanwhile; what is left is counted by the processor, which may be busy."""
  cfg, frozen = t5.load('nano', 'float32')
  may, write = threading.Event(), arrays.write
  with saving.Saving(tmp_path / name, Model(cfg, method(name)), frozen).claimed() as found:
    found.round()
    held = lambda *args: may.wait(20) and write(*args)
    monkeypatch.setattr(arrays, 'write', held)
    found.save()
    may.set()
    for _ in range(4):
      found.round()
  assert statistics.median(each.own for each in found.quiet) <= PROMISED
  assert min(each.blocked for each in found.quiet) <= PROMISED
