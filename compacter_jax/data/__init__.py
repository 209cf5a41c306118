"""Rows to batches: sources, tasks, the paper's splits, tokenizers and the order of training."""

from compacter_jax.data.pipeline import (
  Encoded,
  encode,
  eval_batches,
  order,
  train_batches,
  train_rows,
)
from compacter_jax.data.sources import LocalFiles, Source, source_of
from compacter_jax.data.splits import Splits, paper_splits, torch_permutation
from compacter_jax.data.tasks import TASKS, Example, Task, example, task_named
from compacter_jax.data.tokenizer import Tokenizer, load_tokenizer

__all__ = [
  'TASKS',
  'Encoded',
  'Example',
  'LocalFiles',
  'Source',
  'Splits',
  'Task',
  'Tokenizer',
  'encode',
  'eval_batches',
  'example',
  'load_tokenizer',
  'order',
  'paper_splits',
  'source_of',
  'task_named',
  'torch_permutation',
  'train_batches',
  'train_rows',
]
