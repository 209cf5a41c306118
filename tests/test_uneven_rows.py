"""Rows that divide among neither batches nor devices nor hosts: each is predicted once."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from compacter_jax import data, evaluate, methods, sharding, t5
from compacter_jax.model import Model, abstract
from compacter_jax.placement import Placement
from experiments.evaluation import Evaluation
from tests import two_processes

BATCH = 4
SIZES = range(1, 3 * BATCH + 2)
TEXTS = [' '.join(['row'] * (i % 5 + 1) + [str(i)]) for i in SIZES]

PROGRAM = """
from tests.test_uneven_rows import predicted
print(json.dumps(predicted(4)))
"""


def predicted(devices):
  """For each number of rows what a model that repeats its source predicts for them."""
  model, tokenizer = t5.resolve('nano'), data.load_tokenizer(t5.resolve('nano'))
  cfg = t5.read_config(model)
  laid = Placement(
    sharding.make_mesh(devices=devices), Model(cfg, methods.load('bitfit')), abstract(cfg)
  )
  placement = SimpleNamespace(ways=laid.ways, table=laid.table, tuned=lambda tuned: tuned)
  job = SimpleNamespace(
    eval_batch_size=BATCH, data=SimpleNamespace(max_target=16, allow_target_truncation=False)
  )
  echo = jax.jit(lambda source, steps: source[:, :steps], static_argnums=1)
  out = []
  with pytest.MonkeyPatch.context() as patch, jax.set_mesh(laid.mesh):
    patch.setattr(evaluate, '_generate', lambda model, tuned, frozen, *args: echo(*args))
    patch.setattr(evaluate, 'score', lambda task, predictions, split: predictions)
    for rows in SIZES:
      examples = [data.Example(text, text) for text in TEXTS[:rows]]
      split = data.encode(examples, tokenizer, max_source=16, max_target=16, vocab=8_192)
      inputs = SimpleNamespace(
        splits={'test': split}, task=SimpleNamespace(labels=None), tokenizer=tokenizer, model=None
      )
      out.append(Evaluation(job, inputs, placement, {}).score(None, 'test'))
  return out


@pytest.mark.parametrize('devices', [1, 2, 4])
def test_each_row_is_predicted_once(devices):
  assert len(set(TEXTS)) == len(TEXTS) == SIZES[-1]
  assert predicted(devices) == [TEXTS[:rows] for rows in SIZES]


def test_each_row_is_predicted_once_on_two_hosts():
  for line in two_processes.last_lines(PROGRAM):
    assert json.loads(line) == [TEXTS[:rows] for rows in SIZES]


def test_the_watchdog_knows_programs_by_all_that_decides_them_and_rests_before_scores(monkeypatch):
  """Longer outputs are another program; scoring many rows is no batch that hangs."""
  told = []
  monkeypatch.setattr(evaluate, 'predict', lambda *args: [args[-1](np.zeros((2, 8), np.int32))])
  monkeypatch.setattr(evaluate, 'score', lambda *args: told.append('scored'))
  monkeypatch.setattr(evaluate, 'limit', lambda task, split, *args: split.target_width)
  splits = {'validation': Split(4), 'test': Split(9)}
  job = SimpleNamespace(
    eval_batch_size=2, data=SimpleNamespace(max_target=16, allow_target_truncation=False)
  )
  placement = SimpleNamespace(ways=1, table=lambda table: table, tuned=lambda tuned: tuned)
  inputs = SimpleNamespace(splits=splits, task=data.TASKS['cola'], tokenizer=None, model=None)
  evaluation = Evaluation(job, inputs, placement, {}, told.append, lambda: told.append('rest'))
  for part in splits:
    evaluation.score(None, part)
  assert told == [(2, 8, 4), 'rest', 'scored', (2, 8, 9), 'rest', 'scored']


class Split(SimpleNamespace):
  """Two rows with targets of so many ids."""

  def __init__(self, width):
    super().__init__(target_width=width)

  def __len__(self):
    return 2
