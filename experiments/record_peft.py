"""Records what Hugging Face's peft computes on T5, so that the tests can compare without torch.

    python -m experiments.record_peft

writes one file for each of CASES to tests/methods/recorded. The frozen weights are those that
experiments.record_t5 records: where they change, so does this. It needs torch, transformers 4.57
and peft 0.21; the recorded numbers move in the last digits with torch's build.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from compacter_jax import tensor_file
from experiments import record_t5

FOLDER = Path(__file__).parents[1] / 'tests' / 'methods' / 'recorded'
BASE = 't5'


class Case(NamedTuple):
  """The name of one of peft's configs, and its settings."""

  config: str
  settings: dict[str, Any]


# Modules of several sizes. Names that a T5 does not have (wi or wi_0) match nothing.
_PRODUCTS = {'target_modules': ['q', 'o', 'wi', 'wi_0', 'wo']}
_LORA = {'r': 3, 'lora_alpha': 5, **_PRODUCTS}
CASES = {
  'lora': Case('LoraConfig', _LORA),
  'lora_stabilized': Case('LoraConfig', {**_LORA, 'use_rslora': True}),
  'dora': Case('LoraConfig', {**_LORA, 'use_dora': True}),
  # What T5 has no name for, the hidden activations, peft scales as the input of wo.
  'ia3': Case('IA3Config', {'target_modules': ['k', 'v', 'wo'], 'feedforward_modules': ['wo']}),
  'vera': Case('VeraConfig', {'r': 3, 'save_projection': True, **_PRODUCTS}),
  'loha': Case('LoHaConfig', {'r': 2, 'alpha': 3, **_PRODUCTS}),
  'lokr': Case(
    'LoKrConfig', {'r': 1, 'alpha': 3, 'decompose_both': True, 'decompose_factor': 4, **_PRODUCTS}
  ),
  'lokr_whole': Case('LoKrConfig', {'r': 5, 'alpha': 3, **_PRODUCTS}),
  # Of two submodules peft would lengthen the decoder's input too, which the paper does not.
  'prompt': Case('PromptTuningConfig', {'num_virtual_tokens': 4, 'num_transformer_submodules': 1}),
}


def outputs(model: Any, case: Case, batch: Mapping[str, np.ndarray], seed: int) -> dict[str, Any]:
  """What peft makes of a batch, grafted onto the model with arrays that look trained.

  Returns 'logits', 'loss', and by peft's names 'arrays/...' and, of those that train,
  'gradients/...'.
  """
  import peft
  import torch

  torch.manual_seed(seed)
  config = getattr(peft, case.config)(task_type='SEQ_2_SEQ_LM', **case.settings)
  tuned: Any = peft.get_peft_model(model, config).eval()
  trained = {_short(name): p for name, p in tuned.named_parameters() if p.requires_grad}
  with torch.no_grad():
    for array in trained.values():  # as made, most do nothing
      array += 0.1 * torch.randn_like(array)
  shared = {_short(name): b for name, b in tuned.named_buffers() if 'vera' in name}
  # One pair for the whole model, which each module that is tuned holds.
  arrays = trained | {name.rpartition('.')[2]: b for name, b in shared.items()}

  ids, labels = (torch.tensor(batch[name]).long() for name in ('source', 'target'))
  pad = model.config.pad_token_id
  out = tuned(
    input_ids=ids,
    attention_mask=(ids != pad).long(),
    labels=labels.masked_fill(labels == pad, -100),
  )
  out.loss.backward()
  as_numpy = lambda tensors: {name: t.detach().numpy().copy() for name, t in tensors.items()}
  gradients = {f'gradients/{name}': array.grad for name, array in trained.items()}
  arrays = {f'arrays/{name}': array for name, array in arrays.items()}
  return as_numpy({'logits': out.logits, 'loss': out.loss, **arrays, **gradients})


def _short(name: str) -> str:
  return name.replace('base_model.model.', '').replace('base_model.', '').replace('.default', '')


def base_weights() -> dict[str, np.ndarray]:
  """The recorded T5's weights under Hugging Face's names."""
  tensors = tensor_file.read(record_t5.FOLDER / f'{BASE}.safetensors')
  return {k.removeprefix('weights/'): w for k, w in tensors.items() if k.startswith('weights/')}


def main() -> None:
  """Records everything."""
  import peft
  import torch

  hf = record_t5.SHAPES[BASE]
  batch = record_t5.inputs(hf, seed=0)
  weights = {name: torch.tensor(np.asarray(w)) for name, w in base_weights().items()}
  for name, case in CASES.items():
    model = record_t5.build(hf, seed=0)
    model.load_state_dict(weights, strict=False)  # copies of the embedding are not repeated there
    out = outputs(model, case, batch, seed=0)
    metadata = {'peft': peft.__version__, 'torch': torch.__version__}
    tensor_file.write(FOLDER / f'peft_{name}.safetensors', {**batch, **out}, metadata)


if __name__ == '__main__':
  main()
