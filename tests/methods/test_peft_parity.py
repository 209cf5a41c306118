"""The methods compute what Hugging Face's peft computes on the same T5: live, or recorded."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from compacter_jax import tensor_file
from compacter_jax.hypercomplex import split
from compacter_jax.method import Tuned, is_spec
from compacter_jax.methods.dora import DoRA
from compacter_jax.methods.ia3 import Ia3
from compacter_jax.methods.loha import LoHa
from compacter_jax.methods.lokr import LoKr
from compacter_jax.methods.lora import LoRA
from compacter_jax.methods.prompt import Prompt
from compacter_jax.methods.vera import VeRA
from compacter_jax.model import Model, shift_right
from compacter_jax.t5 import files
from compacter_jax.t5.names import names
from compacter_jax.t5.sites import sites
from experiments import record_peft, record_t5

PRODUCTS = r'.*/(q|o|wi|wi_0|wo)'
METHODS = {
  'lora': LoRA(rank=3, alpha=5, where=PRODUCTS),
  'lora_stabilized': LoRA(rank=3, alpha=5, rank_stabilized=True, where=PRODUCTS),
  'dora': DoRA(rank=3, alpha=5, where=PRODUCTS),
  'ia3': Ia3(),
  'vera': VeRA(rank=3, where=PRODUCTS),
  'loha': LoHa(rank=2, alpha=3, where=PRODUCTS),
  'lokr': LoKr(rank=1, alpha=3, factor=4, decompose_both=True, where=PRODUCTS),
  'lokr_whole': LoKr(rank=5, alpha=3, where=PRODUCTS),
  'prompt': Prompt(length=4),
}
# Theirs -> ours, which is its transpose: torch's kernels are [out, in].
LEAVES = {
  'lora_A.weight': 'a',
  'lora_B.weight': 'b',
  'lora_magnitude_vector.weight': 'm',
  'ia3_l': 'gain',
  'vera_lambda_d': 'd',
  'vera_lambda_b': 'b',
  'hada_w1_b': 'a1',
  'hada_w1_a': 'b1',
  'hada_w2_b': 'a2',
  'hada_w2_a': 'b2',
  'lokr_w1': 'a',
  'lokr_w1_b': 'a_left',
  'lokr_w1_a': 'a_right',
  'lokr_w2': 'b',
  'lokr_w2_b': 's',
  'lokr_w2_a': 't',
}


def moved(model, arrays):
  """Arrays under peft's names as what the method trains; every one has its place."""
  if 'prompt_encoder.embedding.weight' in arrays:
    (prompt,) = arrays.values()
    return Tuned(prompt={'prompt': prompt})
  layers, known = {}, 0
  for name in names(model.cfg):
    module, site = name.hf.removesuffix('.weight'), name.path.removesuffix('/kernel')
    for theirs, ours in LEAVES.items():
      array = arrays.get(f'{module}.{theirs}')
      if array is not None:
        # What goes into wo is what comes out of the activation.
        place = site.replace('ffn/wo', 'ffn/activation') if theirs == 'ia3_l' else site
        layers.setdefault(place, {}).setdefault(ours, []).append(array.T)
        known += 1
  assert known == len(arrays)
  stack = lambda spec, each: np.stack(each).reshape(spec.shape)
  return Tuned(site=jax.tree.map(stack, model.specs().site, layers, is_leaf=is_spec))


def compute(model, tuned, frozen, source, target):
  """The loss, the logits and the gradient."""

  def both(tuned):
    logits = model.logits(tuned, frozen, source, shift_right(target, model.cfg))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    return jnp.mean(losses, where=target != model.cfg.pad_id), logits

  return jax.jit(jax.value_and_grad(both, has_aux=True))(tuned)


def check(method, cfg, frozen, want, monkeypatch):
  pick = lambda kind: {
    k.removeprefix(kind): jnp.asarray(w) for k, w in want.items() if k.startswith(kind)
  }
  arrays, model = pick('arrays/'), Model(cfg, method)
  if 'vera_A' in arrays:
    pair = {'left': arrays.pop('vera_A').T, 'right': arrays.pop('vera_B').T}
    made = method.constants(sites(cfg)).shared
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, pair)
    monkeypatch.setattr(VeRA, 'constants', lambda self, sites: Tuned(shared=pair))
  source, target = jnp.asarray(want['source']), jnp.asarray(want['target'])
  (loss, logits), gradient = compute(model, moved(model, arrays), frozen, source, target)
  np.testing.assert_allclose(logits, want['logits'], rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(loss, want['loss'], rtol=1e-5)
  theirs = moved(model, pick('gradients/'))
  largest = max(np.abs(g).max() for g in jax.tree.leaves(theirs))
  ours, theirs = (dict(jax.tree_util.tree_leaves_with_path(t)) for t in (gradient, theirs))
  assert ours.keys() == theirs.keys()
  for path, g in theirs.items():
    np.testing.assert_allclose(ours[path], g, rtol=1e-3, atol=1e-4 * largest, err_msg=str(path))


def test_every_case_is_tested():
  assert METHODS.keys() == record_peft.CASES.keys()


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  """The recorded T5."""
  folder, hf = tmp_path_factory.mktemp('t5'), record_t5.SHAPES[record_peft.BASE]
  tensor_file.write(folder / 'model.safetensors', record_peft.base_weights(), {'format': 'pt'})
  (folder / 'config.json').write_text(json.dumps(hf))
  return files.load(folder)


@pytest.mark.parametrize('name', METHODS)
def test_recorded_outputs_are_reproduced(name, base, monkeypatch):
  path = record_peft.FOLDER / f'peft_{name}.safetensors'
  assert path.stat().st_size < 100_000
  check(METHODS[name], *base, tensor_file.read(path), monkeypatch)


@pytest.mark.parametrize('name', METHODS)
@pytest.mark.filterwarnings('default')  # torch's own
def test_peft_is_reproduced(name, tmp_path, monkeypatch):
  """On a T5 of the other kind: gated, its head untied."""
  pytest.importorskip('peft', reason='the recorded outputs stand in for peft')
  hf = record_t5.SHAPES['flan-t5']
  model, batch = record_t5.build(hf, seed=100), record_t5.inputs(hf, seed=100)
  model.save_pretrained(tmp_path)
  want = batch | record_peft.outputs(model, record_peft.CASES[name], batch, seed=100)
  check(METHODS[name], *files.load(tmp_path), want, monkeypatch)


@pytest.mark.filterwarnings('default')  # torch's own
def test_sides_are_split_as_lycoris_splits_them():
  layer = pytest.importorskip('peft.tuners.lokr.layer', reason='the split has a test of its own')
  for size in (*range(1, 200), 768, 3072, 32_128):
    for factor in (None, *range(1, 40), 768):
      assert split(size, factor) == layer.factorization(size, factor or -1), (size, factor)
