"""Records what Hugging Face's T5 computes, so that the tests can compare without torch.

    python -m experiments.record_t5

writes one file for each of SHAPES, and the table of relative buckets, to tests/t5/recorded. It
needs torch and transformers 4.57; the recorded numbers move in the last digits with torch's build.
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compacter_jax import tensor_file

FOLDER = Path(__file__).parents[1] / 'tests' / 't5' / 'recorded'
STEPS = 14  # of greedy decoding

# Every T5 there is, as Hugging Face's config.json describes it, made small. Depths differ, no size
# is another's, and sequences are long enough for the buckets that grow logarithmically.
_NEAR = {'relative_attention_num_buckets': 8, 'relative_attention_max_distance': 20}
SHAPES: dict[str, dict[str, Any]] = {
  't5': {
    'model_type': 't5',
    'feed_forward_proj': 'relu',
    'tie_word_embeddings': True,
    'vocab_size': 31,
    'd_model': 8,
    'd_kv': 5,
    'd_ff': 14,
    'num_heads': 2,
    'num_layers': 2,
    'num_decoder_layers': 3,
  },
  'flan-t5': {
    'model_type': 't5',
    'feed_forward_proj': 'gated-gelu',
    'tie_word_embeddings': False,
    'vocab_size': 27,
    'd_model': 12,
    'd_kv': 3,
    'd_ff': 10,
    'num_heads': 4,
    'num_layers': 3,
    'num_decoder_layers': 2,
    **_NEAR,
  },
  'mt5': {
    'model_type': 'mt5',
    'feed_forward_proj': 'gated-gelu',
    'tie_word_embeddings': False,
    'vocab_size': 43,
    'd_model': 8,
    'd_kv': 4,
    'd_ff': 10,
    'num_heads': 3,
    'num_layers': 2,
    'num_decoder_layers': 4,
    **_NEAR,
  },
  'ul2': {
    'model_type': 't5',
    'feed_forward_proj': 'gated-silu',
    'tie_word_embeddings': False,
    'vocab_size': 29,
    'd_model': 12,
    'd_kv': 5,
    'd_ff': 14,
    'num_heads': 2,
    'num_layers': 3,
    'num_decoder_layers': 2,
    **_NEAR,
  },
  'umt5': {
    'model_type': 'umt5',
    'feed_forward_proj': 'gated-gelu',
    'tie_word_embeddings': False,
    'vocab_size': 33,
    'd_model': 8,
    'd_kv': 3,
    'd_ff': 10,
    'num_heads': 2,
    'num_layers': 2,
    'num_decoder_layers': 3,
    **_NEAR,
  },
}
# A rate of dropout that sixteen bits hold exactly: ours is rounded to them.
for _hf in SHAPES.values():
  _hf |= {'pad_token_id': 0, 'eos_token_id': 1, 'decoder_start_token_id': 0, 'dropout_rate': 0.125}

RELATIVE = np.arange(-600, 601, dtype=np.int32)
# How many, up to which distance; of 18 some edges lie on whole numbers, where rounding decides.
BUCKETS = (32, 128), (8, 20), (16, 200), (18, 128), (64, 1000)


def build(hf: Mapping[str, Any], seed: int) -> Any:
  """The model in torch that a config.json describes, drawn at random."""
  import torch
  import transformers

  torch.manual_seed(seed)
  config = transformers.AutoConfig.for_model(**hf)
  model = transformers.AutoModelForSeq2SeqLM.from_config(config).eval()
  for name, weight in model.named_parameters():
    # As T5 draws them, norms do nothing and positions matter little: mistakes would not show.
    if 'layer_norm' in name:
      torch.nn.init.normal_(weight, 1.0, 0.3)
    elif 'relative_attention_bias' in name:
      torch.nn.init.normal_(weight)
  return model


def inputs(hf: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
  """A batch of three rows of unequal lengths, padded: 'source' [3,S] and 'target' [3,T]."""
  rng = np.random.default_rng(seed)
  far = hf.get('relative_attention_max_distance', 128)
  out = {}
  for name, lengths in ('source', (far + 12, far - 7, 4)), ('target', (21, 9, 2)):
    ids = rng.integers(2, hf['vocab_size'], (3, max(lengths)), dtype=np.int32)
    for row, length in zip(ids, lengths, strict=True):
      row[length - 1 :] = hf['pad_token_id']
      row[length - 1] = hf['eos_token_id']
    out[name] = ids
  return out


def outputs(model: Any, source: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
  """What the model makes of a batch: states of the encoder, logits, loss, generated ids.

  'dropped' are the logits of a training step that draws no zeros: all that dropout then does is
  to scale by 1 / keep, wherever it acts.
  """
  import torch

  ids, labels = torch.tensor(source).long(), torch.tensor(target).long()
  labels = labels.masked_fill(labels == model.config.pad_token_id, -100)
  given = {'input_ids': ids, 'attention_mask': (ids != model.config.pad_token_id).long()}
  with torch.no_grad():
    out = model(**given, labels=labels)
    # Its cache breaks where the decoder is deeper than the encoder; without, it is also the better
    # judge of ours.
    generated = model.generate(**given, max_new_tokens=STEPS, do_sample=False, use_cache=False)
    model.train()
    with _no_zeros():
      dropped = model(**given, labels=labels).logits
    model.eval()
  generated = generated[:, 1:].numpy().astype(np.int32)  # without the start token
  short = STEPS - generated.shape[1]
  return {
    'encoder': out.encoder_last_hidden_state.numpy(),
    'logits': out.logits.numpy(),
    'loss': out.loss.numpy(),
    'dropped': dropped.numpy(),
    'generated': np.pad(generated, ((0, 0), (0, short)), constant_values=model.config.pad_token_id),
  }


@contextlib.contextmanager
def _no_zeros() -> Iterator[None]:
  """Torch's dropout, were every draw to keep its number."""
  import torch

  functional: Any = torch.nn.functional
  real = functional.dropout
  functional.dropout = lambda x, p=0.5, training=True, inplace=False: x / (1 - p if training else 1)
  try:
    yield
  finally:
    functional.dropout = real


def buckets(relative: np.ndarray, bidirectional: bool, count: int, distance: int) -> np.ndarray:
  """Hugging Face's bucket of each relative position."""
  import torch
  from transformers.models.t5.modeling_t5 import T5Attention

  bucket: Any = T5Attention._relative_position_bucket
  return bucket(torch.tensor(relative).long(), bidirectional, count, distance).numpy()


def main() -> None:
  """Records everything."""
  import torch
  import transformers

  versions = {'torch': torch.__version__, 'transformers': transformers.__version__}
  for name, hf in SHAPES.items():
    for seed in itertools.count():
      model, batch = build(hf, seed), inputs(hf, seed)
      out = outputs(model, **batch)
      ends = np.any(out['generated'][:, :-1] == hf['eos_token_id'], axis=1)
      # Else the recording says nothing of what follows the end, or of what a token depends on.
      if ends.any() and not ends.all() and len(np.unique(out['generated'])) > 5:
        break
    weights = {f'weights/{k}': w.detach().numpy() for k, w in model.named_parameters()}
    metadata = {'config.json': model.config.to_json_string(), 'seed': str(seed), **versions}
    tensor_file.write(FOLDER / f'{name}.safetensors', {**weights, **batch, **out}, metadata)
  tables = {
    f'{"both" if both else "past"}/{count}/{distance}': buckets(
      RELATIVE, both, count, distance
    ).astype(np.int8)
    for both, (count, distance) in itertools.product((True, False), BUCKETS)
  }
  tables = {'relative': RELATIVE, **tables}
  tensor_file.write(FOLDER / 'relative_buckets.safetensors', tables, versions)


if __name__ == '__main__':
  main()
