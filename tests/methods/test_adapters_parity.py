"""Methods compute what the library `adapters` computes on torch, live or recorded."""

import functools
import re
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

from compacter_jax import tensor_file
from compacter_jax.chaining import chain
from compacter_jax.method import Method, Tuned, is_spec
from compacter_jax.methods.adapter import Adapter
from compacter_jax.methods.compacter import Compacter
from compacter_jax.methods.ia3 import Ia3
from compacter_jax.methods.lora import LoRA
from compacter_jax.methods.parallel_adapter import ParallelAdapter
from compacter_jax.methods.prefix import Prefix
from compacter_jax.model import Model, shift_right
from compacter_jax.t5 import files
from experiments import record_adapters, record_t5

P = record_adapters.LENGTH
METHODS = {
  'houlsby': Adapter(reduction=2, activation='silu'),
  'pfeiffer': Adapter(reduction=2, activation='relu', where='.*/ffn'),
  'parallel': ParallelAdapter(),
  'parallel_learned': ParallelAdapter(learn_scale=True),
  'prefix': Prefix(length=P),
  'prefix_network': Prefix(length=P, bottleneck=6),
  'mam': chain(prefix=Prefix(length=P, bottleneck=6), adapters=ParallelAdapter()),
  'lora': LoRA(rank=2, alpha=4),
  'ia3': Ia3(),
  'compacter': Compacter(n=2, reduction=2),
  'compacter_pp': Compacter(n=3, reduction=2, where='.*/ffn'),
}

# Their names, layer by layer, and how their arrays become ours.
LAYER = r'(\w+)\.block\.(\d+)\.layer\.(\d)\.(?:\w+\.(\w+)\.loras|adapters)\.it\.(?:adapter_)?(.+)'
PLACES = {
  'encoder': ('self_attention', 'ffn'),
  'decoder': ('self_attention', 'cross_attention', 'ffn'),
}
LEAVES = {
  'weight': ('kernel', np.transpose),
  'bias': ('bias', np.array),
  'scaling': ('scale', np.squeeze),
  'lora_A': ('a', np.transpose),
  'lora_B': ('b', np.transpose),
  'W_left': ('s', np.array),
  'W_right': ('t', np.array),
  'b': ('bias', np.array),
}
KINDS = {
  'encoder': ('encoder', 'self_attention'),
  'self': ('decoder', 'self_attention'),
  'cross': ('decoder', 'cross_attention'),
}


def renamed(arrays, cfg):
  """The arrays of `adapters` by our paths, names joined by ':'."""
  layered, out = {}, {}
  for path, array in arrays.items():
    if within := re.fullmatch(LAYER, path):
      stack, i, place, module, name = within.groups()
      site = f'{stack}/layers/{PLACES[stack][int(place)]}'
      if module:
        site += '/activation' if module.startswith('wi') else f'/{module}'
      *above, leaf = name.replace('.0.', '.').split('.')
      leaf, change = LEAVES[leaf]
      layered.setdefault(':'.join(['site', site, *above, leaf]), {})[int(i)] = change(array)
    elif prefix := re.fullmatch(r'.*prefix_tunings\.it\.(\w+)_prefix\.(.+)', path):
      out |= prefixes(*KINDS[prefix[1]], prefix[2], array, cfg)
    else:
      assert path == 'shared_parameters.it.phm_rule'
      out['shared:a'] = array
  for path, rows in layered.items():
    stacked = np.stack([rows[i] for i in range(len(rows))])
    if path.endswith(':b') and f'{path[:-1]}a' not in layered:  # (IA)^3, which has lora_B only
      path, stacked = f'{path[:-1]}gain', stacked[:, 0]
    out[path] = stacked
  return out


def prefixes(stack, attention, name, array, cfg):
  """One array of a prefix, or of the network that makes all prefixes of a kind of attention."""
  site, network = f'site:{stack}/layers/{attention}', f'{stack}_{attention}'
  depth = {'encoder': cfg.encoder_layers, 'decoder': cfg.decoder_layers}[stack]
  first = {'wte.weight': 'embedding', 'control_trans.0.weight': 'hidden:kernel'}
  first['control_trans.0.bias'] = 'hidden:bias'
  if name in first:
    return {f'shared:{network}:{first[name]}': array.T if 'kernel' in first[name] else array}
  # [..., L 2 H K]: a prefix itself, or the kernel or bias of the layer that makes it.
  if name == 'control_trans':
    array, above, leaf = array.reshape(P, -1), '', ''
  else:
    leaf, change = LEAVES[name.rpartition('.')[2]]
    array, above, leaf = change(array), f':{network}', f':{leaf}'
  cut = np.moveaxis(array.reshape(*array.shape[:-1], depth, 2, -1), (-3, -2), (0, 1))
  return {f'{site}{above}:{part}{leaf}': cut[:, i] for i, part in enumerate(('keys', 'values'))}


def tuned(method, cfg, arrays):
  """What the method trains, out of the arrays of `adapters`: each is used once."""
  left = renamed(arrays, cfg)
  parts = [name for name, _ in getattr(method, 'parts', ())]

  def take(path, spec):
    names = [str(getattr(k, 'name', getattr(k, 'key', k))) for k in path]
    array = left.pop(':'.join(name for name in names if name not in parts))
    assert array.shape == spec.shape, names
    return array

  out = jax.tree_util.tree_map_with_path(take, Model(cfg, method).specs(), is_leaf=is_spec)
  assert not left
  return out


@functools.cache
def base(shape):
  """Config, weights, source and decoder's input of one recorded T5."""
  path = record_t5.FOLDER / f'{shape}.safetensors'
  tensors = tensor_file.read(path)
  with tempfile.TemporaryDirectory() as folder:
    weights = {k.removeprefix('weights/'): w for k, w in tensors.items() if 'weights/' in k}
    tensor_file.write(Path(folder) / 'model.safetensors', weights, {'format': 'pt'})
    (Path(folder) / 'config.json').write_text(tensor_file.metadata(path)['config.json'])
    cfg, frozen = files.load(folder)
  return cfg, frozen, tensors['source'], shift_right(tensors['target'], cfg)


@functools.partial(jax.jit, static_argnums=(0, 1))
def compute(cfg, method, *args):
  return Model(cfg, method).logits(*args)


def logits(name, recorded):
  """Ours, with the arrays of a recording."""
  cfg, *rest = base(record_adapters.CASES[name][0])
  arrays = {k.removeprefix('adapter/'): a for k, a in recorded.items() if k != 'logits'}
  return compute(cfg, METHODS[name], tuned(METHODS[name], cfg, arrays), *rest)


def agree(name, recorded):
  got, want = logits(name, recorded), recorded['logits']
  print(name, f'{np.abs(got - want).max():.1e}')
  np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)


def test_every_case_has_its_method():
  assert METHODS.keys() == record_adapters.CASES.keys()


@pytest.mark.parametrize('name', METHODS)
def test_recorded_logits_are_reproduced(name):
  recorded = tensor_file.read(record_adapters.FOLDER / f'adapters_{name}.safetensors')
  cfg, frozen, *inputs = base(record_adapters.CASES[name][0])
  agree(name, recorded)
  plain = compute(cfg, Method(), Tuned(), frozen, *inputs)
  assert np.abs(recorded['logits'] - plain).max() > 0.5  # or the arrays did nothing


@pytest.mark.parametrize('name', METHODS)
@pytest.mark.filterwarnings('ignore')  # those of torch and its libraries
def test_adapters_is_reproduced(name):
  pytest.importorskip('adapters', reason='the recorded logits stand in for adapters')
  agree(name, record_adapters.compute(name, seed=1))


# Where the library does otherwise on T5, see `record_adapters.compute`.
OTHERWISE = record_adapters.SUMS | {'parallel', 'parallel_learned', 'prefix', 'prefix_network'}


@pytest.mark.parametrize('name', sorted(OTHERWISE))
@pytest.mark.filterwarnings('ignore')
def test_what_adapters_does_otherwise_is_still_so(name):
  pytest.importorskip('adapters', reason='it is about the library itself')
  shipped = record_adapters.compute(name, seed=1, as_shipped=True)
  assert np.abs(logits(name, shipped) - shipped['logits']).max() > 0.5
