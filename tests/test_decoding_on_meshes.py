"""Answers are generated on any mesh as on one device, and what is remembered of rows is split."""

import re

import jax
import numpy as np
import pytest

from compacter_jax import data, evaluate, methods, sharding, t5
from compacter_jax.model import Model
from compacter_jax.placement import Placement
from experiments.generation import Generation
from tests.conftest import draw
from tests.on_meshes import MESHES, one_device

# All sizes differ: a shape tells what it is of.
CFG = t5.Config(
  vocab=8_192,
  d_model=40,
  d_kv=6,
  d_ff=56,
  heads=8,
  encoder_layers=2,
  decoder_layers=3,
  gated=True,
  dropout=0.0,
)
MODEL = Model(CFG, methods.load('lora', rank=2))
ROWS, LENGTH, STEPS = 16, 11, 7

pytestmark = pytest.mark.usefixtures('standard_promotion')


@pytest.fixture(scope='module')
def weights():
  return draw(CFG)


@pytest.fixture(scope='module')
def split():
  tokenizer = data.load_tokenizer(t5.resolve('nano'))
  examples = [data.Example(f'{"a film " * (i % 4)}number {i}', '1') for i in range(21)]
  return data.encode(examples, tokenizer, max_source=16, max_target=4, vocab=8_192), tokenizer


def answers(mesh, weights, split, size=ROWS):
  """The texts generated for rows that do not divide into batches of this size."""
  placement = Placement(mesh, MODEL, weights)
  tuned, frozen = MODEL.init(jax.random.key(1), weights), placement.weights(weights)
  rows, tokenizer = split
  with jax.set_mesh(mesh):
    generation = Generation(MODEL, tokenizer, placement, frozen, size)
    return generation.answers(tuned, rows, STEPS)


@pytest.fixture(scope='module')
def alone(weights, split):
  with jax.numpy_dtype_promotion('standard'):
    return answers(one_device(), weights, split)


@pytest.mark.parametrize('size', [1, 3, 8, 21])
def test_the_batch_changes_no_answer(size, weights, split, alone):
  assert answers(one_device(), weights, split, size) == alone


@pytest.mark.parametrize('sizes', ['2x2x2', '1x1x8'])
def test_the_same_answers_as_on_one_device(sizes, weights, split, alone):
  assert len(set(alone)) > len(alone) // 2  # nonsense, but of each row its own
  assert answers(sharding.make_mesh(*MESHES[sizes]), weights, split) == alone


@pytest.mark.parametrize('sizes', ['2x2x2', '1x8x1'])
def test_what_is_remembered_is_split_over_rows_and_heads(sizes, weights):
  """By the program's own account of keys and values, [L,B,H,T,K], of one device."""
  mesh = sharding.make_mesh(*MESHES[sizes])
  placement = Placement(mesh, MODEL, weights)
  tuned = placement.tuned(MODEL.init(jax.random.key(1), weights))
  source = placement.table(np.ones((ROWS, LENGTH), np.int32))
  with jax.set_mesh(mesh):
    args = MODEL, tuned, placement.weights(weights), source
    text = evaluate._generate.lower(*args, steps=STEPS).compile().as_text()
  rows, heads = ROWS // placement.ways, CFG.heads // mesh.shape['tensor']
  for length in STEPS, LENGTH:  # of its own positions, and of the source's
    found = re.findall(rf'f32\[3,(\d+),(\d+),{length},6\]', text)
    assert set(found) == {(str(rows), str(heads))}
