"""Decoding by the cache gives what the whole network gives, and stops when all is said."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.chaining import chain
from compacter_jax.method import Tuned, is_spec
from compacter_jax.methods.adapter import Adapter
from compacter_jax.methods.compacter import Compacter
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import Model
from compacter_jax.t5 import decode
from compacter_jax.t5.mode import Mode
from compacter_jax.t5.network import T5
from tests.conftest import TINY, draw

STEPS = 9
# Rows of three lengths, the last of them nothing but padding.
SOURCE = np.array([[5, 9, 2, 17, 20, 3, 1], [8, 8, 11, 1, 0, 0, 0], [0] * 7], np.int32)


def lively(model, frozen):
  """Tuned arrays that do something: as they are made, adapters are nearly the identity."""
  rng = np.random.default_rng(1)
  specs = model.specs(frozen)
  leaves, treedef = jax.tree.flatten(specs, is_leaf=is_spec)
  noise = [jnp.asarray(rng.standard_normal(spec.shape, np.float32)) for spec in leaves]
  return treedef.unflatten(noise)


def stepwise(model, tuned, frozen, source, target):
  params, grafted, _ = model._join(tuned, frozen)
  t5 = T5(model.cfg, Mode(model.dtype))
  return decode.stepwise_logits(t5, params, grafted, source, target)


def without_cache(model, tuned, frozen, source, steps):
  """Greedy decoding that reads all that was said again, for every token."""
  cfg = model.cfg
  logits = jax.jit(model.logits)
  inputs = np.full((len(source), steps + 1), cfg.pad_id, np.int32)
  inputs[:, 0] = cfg.decoder_start_id
  ended = np.zeros(len(source), bool)
  for i in range(steps):
    best = np.argmax(logits(tuned, frozen, source, inputs[:, :-1])[:, i], -1)
    inputs[:, i + 1] = np.where(ended, cfg.pad_id, best)
    ended |= best == cfg.eos_id
  return inputs[:, 1:]


METHODS = {
  'compacter': chain(norms=Unfreeze('.*norm/scale'), adapters=Compacter(n=4, width=8, a_range=0.3)),
  'some layers': chain(
    one=Adapter(width=5, encoder_layers=(1,), decoder_layers=(0, 2)),
    two=Adapter(width=3, where=r'decoder/.*/(k|v)', decoder_layers=(1, 2)),
  ),
}
CASES = [(name, None) for name in TINY] + [('mt5', 'compacter'), ('umt5', 'some layers')]


@pytest.mark.parametrize(('name', 'method'), CASES)
def test_the_cache_changes_nothing(name, method):
  cfg = TINY[name]
  frozen = draw(cfg)
  plain = Model(cfg)
  model = Model(cfg, METHODS[method]) if method else plain
  tuned = lively(model, frozen)
  target = np.random.default_rng(2).integers(0, cfg.vocab, (3, STEPS), np.int32)
  logits = jax.jit(model.logits)(tuned, frozen, SOURCE, target)
  got = jax.jit(lambda *args: stepwise(model, *args))(tuned, frozen, SOURCE, target)
  np.testing.assert_allclose(got, logits, atol=1e-5, rtol=1e-5)
  generated = jax.jit(model.generate, static_argnums=3)(tuned, frozen, SOURCE, STEPS)
  want = without_cache(model, tuned, frozen, SOURCE, STEPS)
  np.testing.assert_array_equal(generated, want)
  assert generated.dtype == jnp.int32
  if method:
    assert np.abs(logits - jax.jit(plain.logits)(Tuned(), frozen, SOURCE, target)).max() > 0.1


def counted(monkeypatch):
  """Notes every position that is decoded."""
  positions = []
  step = decode._step

  def note(t5, tokens, position, *args):
    jax.debug.callback(lambda at: positions.append(int(at)), position)
    return step(t5, tokens, position, *args)

  monkeypatch.setattr(decode, '_step', note)
  return positions


def test_rows_end_one_by_one_and_then_it_stops(monkeypatch):
  cfg = TINY['flan-t5']
  frozen = draw(cfg)
  source = np.random.default_rng(0).integers(2, cfg.vocab, (8, 5), np.int32)
  # While a token that is never said is the end, none comes. Then let it be one that two rows say
  # at different times.
  never = cfg.vocab - 1
  endless = dataclasses.replace(cfg, eos_id=never)
  said = np.asarray(Model(endless).generate(Tuned(), frozen, source, STEPS))
  assert never not in said
  first = lambda row, token: list(row).index(token) if token in row else STEPS
  rows, token = next(
    ([i, j], token)
    for i, j in itertools.combinations(range(len(said)), 2)
    for token in said[i]
    if first(said[i], token) < first(said[j], token) < STEPS - 2
  )
  ends = np.array([first(row, token) for row in said[rows]])
  want = np.where(np.arange(STEPS) <= ends[:, None], said[rows], cfg.pad_id)

  positions = counted(monkeypatch)
  model = Model(dataclasses.replace(cfg, eos_id=int(token)))
  got = model.generate(Tuned(), frozen, source[rows], STEPS)
  jax.block_until_ready(got)
  jax.effects_barrier()
  np.testing.assert_array_equal(got, want)
  assert sorted(positions) == list(range(ends.max() + 1))


@pytest.mark.parametrize(('rows', 'steps'), [(1, STEPS), (1, 1)])
def test_one_row_or_one_step_is_a_part_of_more(rows, steps):
  cfg = TINY['umt5']
  frozen = draw(cfg)
  generate = jax.jit(Model(cfg).generate, static_argnums=3)
  every = generate(Tuned(), frozen, SOURCE, STEPS)
  got = generate(Tuned(), frozen, SOURCE[:rows], steps)
  np.testing.assert_array_equal(got, every[:rows, :steps])


def test_bfloat16_decodes_as_it_reads():
  cfg = TINY['t5']
  frozen = {path: w.astype(jnp.bfloat16) for path, w in draw(cfg).items()}
  model = Model(cfg, dtype='bfloat16')
  target = jnp.ones((3, 4), jnp.int32)
  got = jax.jit(lambda *args: stepwise(model, *args))(Tuned(), frozen, SOURCE, target)
  want = jax.jit(model.logits)(Tuned(), frozen, SOURCE, target)
  assert got.dtype == want.dtype == jnp.float32
  np.testing.assert_allclose(got, want, atol=0.1)  # logits of 3, of 8 bits
