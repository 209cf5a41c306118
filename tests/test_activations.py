"""Activations of T5's compiled step are split by rows: no device has those of others.

By the shapes in the program that XLA made, which are of one device. All sizes differ, so that it
can be read off a shape what it is of.
"""

import re

import jax
import numpy as np
import pytest

from compacter_jax import methods, optim, sharding, t5, train
from compacter_jax.model import Model
from compacter_jax.placement import Placement

CFG = t5.Config(
  vocab=480, d_model=44, d_kv=7, d_ff=56, heads=6, encoder_layers=2, decoder_layers=3, gated=True
)
ROWS, LENGTHS = 36, (13, 5)  # of sources and targets; rows are no power of two, as XLA's blocks are
WAYS = 4
METHODS = {'lora': methods.load('lora', rank=2), 'full': methods.load('unfreeze', where='.*')}

pytestmark = pytest.mark.usefixtures('standard_promotion')


def program(method):
  """The text of the step, as one device of 2x2x2 runs it."""
  model, mesh = Model(CFG, method), sharding.make_mesh(2, 2, 2)
  frozen = t5.random_weights(CFG, jax.random.key(0))
  placement, optimizer = Placement(mesh, model, frozen), optim.build(optim.Optim(), 10)
  batch = {
    name: np.ones((ROWS, length), np.int32) for name, length in zip(('source', 'target'), LENGTHS)
  }
  with jax.set_mesh(mesh):
    step = train.make_step(model, optimizer, lies=placement.lies(optimizer))
    state = placement.state(model.init(jax.random.key(1), frozen), optimizer, 7)
    args = state, placement.weights(model.trim(frozen)), placement.batch(batch)
    return step.lower(*args).compile().as_text()


def shapes(text):
  return {tuple(map(int, dims.split(','))) for dims in re.findall(r'\b[a-z]+\d*\[([\d,]+)\]', text)}


def of_rows(shape, rows):
  """Whether it is an array of so many rows' activations: by row and position, or those in one."""
  apart = rows in shape and set(LENGTHS) & set(shape)
  return len(shape) > 2 and bool(apart) or bool({rows * each for each in LENGTHS} & set(shape))


@pytest.mark.parametrize('method', METHODS.values(), ids=METHODS)
def test_no_device_has_activations_of_rows_of_others(method):
  found = shapes(program(method))
  mine = {shape for shape in found if of_rows(shape, ROWS // WAYS)}
  for length in LENGTHS:  # it can tell: what is of its own rows is there
    assert {(9, length, CFG.d_model), (9, length, CFG.d_ff // 2)} <= mine
  assert not [shape for shape in found if of_rows(shape, ROWS // 2) or of_rows(shape, ROWS)]
