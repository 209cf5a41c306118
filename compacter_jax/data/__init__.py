"""Rows to batches: sources, tasks, splits, samples, tokenizers and the order of training."""

from compacter_jax.data.answers import check_answers
from compacter_jax.data.duplicates import duplicates
from compacter_jax.data.encoding import Encoded, encode
from compacter_jax.data.order import order, train_rows
from compacter_jax.data.permutation import torch_permutation
from compacter_jax.data.pipeline import BATCHINGS, Batches, eval_batches, train_batches
from compacter_jax.data.prepared import Prepared
from compacter_jax.data.preparing import prepare
from compacter_jax.data.ragged import Ragged
from compacter_jax.data.registry import TASKS, task_named, trained_on
from compacter_jax.data.sampling import Sample
from compacter_jax.data.sound_rows import BadRows
from compacter_jax.data.sources import LocalFiles, Source, source_of
from compacter_jax.data.splits import Part, Splits, splits_of
from compacter_jax.data.tasks import Example, Task, example, examples, one_per_row
from compacter_jax.data.token_cache import TokenCache
from compacter_jax.data.tokenizer import Tokenizer, load_tokenizer

__all__ = [
  'BATCHINGS',
  'TASKS',
  'BadRows',
  'Batches',
  'Encoded',
  'Example',
  'LocalFiles',
  'Part',
  'Prepared',
  'Ragged',
  'Sample',
  'Source',
  'Splits',
  'Task',
  'TokenCache',
  'Tokenizer',
  'check_answers',
  'duplicates',
  'encode',
  'eval_batches',
  'example',
  'examples',
  'load_tokenizer',
  'one_per_row',
  'order',
  'prepare',
  'source_of',
  'splits_of',
  'task_named',
  'torch_permutation',
  'train_batches',
  'train_rows',
  'trained_on',
]
