"""Rows to batches: sources, tasks, the paper's splits, tokenizers and the order of training."""

from compacter_jax.data.answers import check_answers
from compacter_jax.data.pipeline import (
  Encoded,
  encode,
  eval_batches,
  order,
  train_batches,
  train_rows,
)
from compacter_jax.data.prepared import Prepared
from compacter_jax.data.preparing import prepare
from compacter_jax.data.registry import TASKS, task_named, trained_on
from compacter_jax.data.sound_rows import BadRows
from compacter_jax.data.sources import LocalFiles, Source, source_of
from compacter_jax.data.splits import Splits, paper_splits, torch_permutation
from compacter_jax.data.tasks import Example, Task, example, examples, one_per_row
from compacter_jax.data.tokenizer import Tokenizer, load_tokenizer

__all__ = [
  'TASKS',
  'BadRows',
  'Encoded',
  'Example',
  'LocalFiles',
  'Prepared',
  'Source',
  'Splits',
  'Task',
  'Tokenizer',
  'check_answers',
  'encode',
  'eval_batches',
  'example',
  'examples',
  'load_tokenizer',
  'one_per_row',
  'order',
  'paper_splits',
  'prepare',
  'source_of',
  'task_named',
  'torch_permutation',
  'train_batches',
  'train_rows',
  'trained_on',
]
