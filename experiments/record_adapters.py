"""Records what the library `adapters` computes, so that the tests can compare without torch.

    python -m experiments.record_adapters

writes one file for each of CASES to tests/methods/recorded: arrays drawn at random and the logits
that they give with a T5 and a batch of tests/t5/recorded. It needs adapters 1.3.0.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from compacter_jax import tensor_file
from experiments import record_t5

FOLDER = Path(__file__).parents[1] / 'tests' / 'methods' / 'recorded'
LENGTH = 3  # of prefixes

# The T5, and what `adapters` is told to graft onto it. (IA)^3 is compared on a gated T5: in others
# the library multiplies before the ReLU, which is the same for gains above zero only.
CASES: dict[str, tuple[str, Callable[..., Any]]] = {
  'houlsby': ('t5', lambda lib: lib.DoubleSeqBnConfig(reduction_factor=2)),
  'pfeiffer': ('t5', lambda lib, **reads: lib.SeqBnConfig(reduction_factor=2, **reads)),
  'parallel': ('t5', lambda lib: lib.ParBnConfig()),
  'parallel_learned': ('flan-t5', lambda lib: lib.ParBnConfig(scaling='learned')),
  'prefix': ('t5', lambda lib: lib.PrefixTuningConfig(flat=True, prefix_length=LENGTH)),
  'prefix_network': (
    't5',
    lambda lib: lib.PrefixTuningConfig(prefix_length=LENGTH, bottleneck_size=6),
  ),
  'mam': (
    'flan-t5',
    lambda lib: lib.MAMConfig(lib.PrefixTuningConfig(prefix_length=LENGTH, bottleneck_size=6)),
  ),
  'lora': ('t5', lambda lib: lib.LoRAConfig(r=2, alpha=4)),
  'ia3': ('flan-t5', lambda lib: lib.IA3Config()),
  'compacter': (
    't5',
    lambda lib: lib.CompacterConfig(phm_dim=2, reduction_factor=2, non_linearity='gelu_new'),
  ),
  'compacter_pp': (
    'flan-t5',
    lambda lib, **reads: lib.CompacterPlusPlusConfig(
      phm_dim=3, reduction_factor=2, non_linearity='gelu_new', **reads
    ),
  ),
}
SUMS = {'pfeiffer', 'compacter_pp'}  # which read the residual stream too, unless told not to


def compute(name: str, seed: int, as_shipped: bool = False) -> dict[str, np.ndarray]:
  """The arrays by their names in `adapters`, 'adapter/...', and the 'logits' of the batch.

  as_shipped: leaves alone what the library does on T5 and we do not; else it is mended:
    parallel adapters read the residual stream, ours what the norm makes of it;
    a prefix takes the first positions, and every token moves on by its length, ours has none;
    adapters in one place read the sum of output and residual stream, ours the output.
  """
  import adapters
  import torch

  shape, config = CASES[name]
  tensors = tensor_file.read(record_t5.FOLDER / f'{shape}.safetensors')
  model = record_t5.build(record_t5.SHAPES[shape], seed)
  with torch.no_grad():
    for path, weight in model.named_parameters():
      weight.copy_(torch.tensor(tensors[f'weights/{path}']))
  adapters.init(model)
  mended = name in SUMS and not as_shipped
  model.add_adapter('it', config(adapters, **({'original_ln_before': False} if mended else {})))
  model.set_active_adapters('it')
  model.eval()
  rng, arrays = np.random.default_rng(seed), {}
  for path, array in model.named_parameters():
    if '.it.' in path:
      arrays[f'adapter/{path}'] = rng.normal(0, 0.5, array.shape).astype(np.float32)
      array.data = torch.tensor(arrays[f'adapter/{path}'])
  ids, labels = (torch.tensor(tensors[key]).long() for key in ('source', 'target'))
  pad = model.config.pad_token_id
  labels = labels.masked_fill(labels == pad, -100)
  with torch.no_grad(), contextlib.nullcontext() if as_shipped else _mended(model):
    out = model(input_ids=ids, attention_mask=(ids != pad).long(), labels=labels)
  return {**arrays, 'logits': out.logits.numpy()}


@contextlib.contextmanager
def _mended(model: Any) -> Iterator[None]:
  """Norms what parallel adapters read, and leaves tokens where they are behind a prefix."""
  import torch
  from adapters.methods.modeling import ParallelAdapter
  from transformers.models.t5.modeling_t5 import T5Attention

  for layer in model.modules():
    own = getattr(layer, 'adapters', {})
    if 'it' in own and isinstance(own['it'], ParallelAdapter):
      norm = lambda _, given, norm=layer.layer_norm: (norm(given[0]), *given[1:])
      own['it'].register_forward_pre_hook(norm)
  real = T5Attention.compute_bias
  front = LENGTH if any('prefix_tunings.it.' in path for path, _ in model.named_parameters()) else 0

  def bias(self: Any, queries: int, keys: int, **rest: Any) -> Any:
    return torch.nn.functional.pad(real(self, queries, keys - front, **rest), (front, 0))

  T5Attention.compute_bias = bias  # pyright: ignore[reportAttributeAccessIssue]
  try:
    yield
  finally:
    T5Attention.compute_bias = real


def main() -> None:
  """Records everything."""
  import adapters
  import torch

  FOLDER.mkdir(exist_ok=True)
  versions = {'torch': torch.__version__, 'adapters': adapters.__version__}
  for name in CASES:
    tensor_file.write(FOLDER / f'adapters_{name}.safetensors', compute(name, seed=0), versions)


if __name__ == '__main__':
  main()
