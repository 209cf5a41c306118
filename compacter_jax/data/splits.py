"""Training, validation and test rows of a task: which they are, and proof that they are the same.

`protocols.py` cuts the official splits, `sampling.py` draws few of the training rows.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compacter_jax.data import protocols
from compacter_jax.data.permutation import SEEDS, permuted
from compacter_jax.data.protocols import Taken
from compacter_jax.data.registry import trained_on
from compacter_jax.data.sampling import AS_PUBLISHED, Pool, Sample
from compacter_jax.data.sources import Official, Source
from compacter_jax.data.tasks import Row, Task, subject
from compacter_jax.errors import DataError
from compacter_jax.settings import choose, within

Rows = Mapping[Official, list[dict[str, Any]]]
ALL = Sample()


@dataclass(frozen=True)
class Part:
  """Rows of one official split.

  Attributes:
    task: whose rows they are; those of a diagnostic set are trained on as another task's.
    indices: int64, the places of `rows` in the official split, counted from 0.
  """

  task: Task
  official: Official
  indices: np.ndarray
  rows: list[dict[str, Any]]

  def __len__(self) -> int:
    return len(self.rows)

  @property
  def indices_sha256(self) -> str:
    """SHA-256, in hex, of the split's name and the indices in their order, a line for each."""
    lines = [self.official, *map(str, self.indices.tolist())]
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()

  @property
  def rows_sha256(self) -> str:
    """SHA-256, in hex, of the rows in their order, each a line of JSON with sorted keys.

    Only the columns that the task asks for and the answer count, whatever else a source gives.
    """
    digest = hashlib.sha256()
    for row in self.rows:
      kept = {key: row[key] for key in (*self.task.columns, 'label', 'answers') if key in row}
      digest.update(json.dumps(kept, sort_keys=True, default=_plain).encode() + b'\n')
    return digest.hexdigest()

  def told(self) -> dict[str, Any]:
    """The part without its rows, as JSON has it."""
    return {
      'official': self.official,
      'rows': len(self),
      'indices_sha256': self.indices_sha256,
      'rows_sha256': self.rows_sha256,
    }


@dataclass(frozen=True)
class Splits:
  """The rows to train on, to choose by, and to report on. No row is in two of them."""

  train: Part
  validation: Part
  test: Part

  def parts(self) -> dict[str, Part]:
    """By name, in the order of their use."""
    return {name: getattr(self, name) for name in protocols.PARTS}


def splits_of(
  source: Source,
  task: Task,
  protocol: str = 'paper',
  seed: int = 42,
  sample: Sample = ALL,
) -> Splits:
  """The rows of the task by one of `protocols.PROTOCOLS`, as many as the sample says.

  seed: of the permutation that carves out parts. Rows that teach nothing are left out of the
  training rows before a sample is taken of them.

  Raises ConfigError for settings that cannot be, DataError for too few rows, saying what works.
  """
  choose('data.splits', protocol, protocols.PROTOCOLS)
  within('data.seed', seed, 0, SEEDS - 1)
  base = trained_on(task)
  diagnostic = base is not task
  names = protocols.officials(base.split, diagnostic)
  whose = {name: task if name == 'test' else base for name in names}
  rows: Rows = {name: source.rows(name) for name in names}
  groups: protocols.Groups = {name: _groups(protocol, whose[name], rows[name]) for name in names}
  cut = protocols.cut(protocol, base.split, groups, seed, diagnostic)
  cut['train'] = Taken('train', _teaching(base, rows['train'], cut['train'].rows))
  cut = _sampled(cut, rows, base, groups['train'], seed, sample)
  parts = {}
  for part, (name, indices) in cut.items():
    kept = [rows[name][i] for i in indices]
    parts[part] = Part(whose[name], name, np.array(indices, np.int64), kept)
  return Splits(**parts)


def _groups(protocol: str, task: Task, rows: Sequence[Row]) -> Sequence[Any]:
  grouped = protocol == 'grouped'
  return [subject(task, row) for row in rows] if grouped else range(len(rows))


def _teaching(task: Task, rows: Sequence[Row], indices: list[int]) -> list[int]:
  out = [i for i in indices if task.teaches(rows[i])]
  if not out:
    raise DataError(
      f'No training row of {task.name} can be trained on.',
      expected=f'rows that teach in the style {task.style!r}',
      got=f'{len(indices)} rows that are for evaluation only',
    )
  return out


def _sampled(
  cut: protocols.Cut,
  rows: Rows,
  task: Task,
  groups: Sequence[Any],
  seed: int,
  sample: Sample,
) -> protocols.Cut:
  out = dict(cut)
  for part, most in ('validation', sample.max_validation), ('test', sample.max_test):
    name, indices = cut[part]
    if most:
      out[part] = Taken(name, permuted(indices, len(rows[name]), seed)[:most])
  if sample.shots or sample.max_train:
    own = seed if sample.seed == AS_PUBLISHED else sample.seed
    order = permuted(cut['train'].rows, len(rows['train']), own)
    pool = _pool(order, rows['train'], task, groups)
    if sample.shots:
      train, validation = pool.shots(sample.shots)
      return out | {'train': Taken('train', train), 'validation': Taken('train', validation)}
    draw = pool.balanced if sample.balanced else pool.first
    out['train'] = Taken('train', draw(sample.max_train))
  return out


def _pool(order: list[int], rows: Sequence[Row], task: Task, groups: Sequence[Any]) -> Pool:
  classes = len(task.labels or ())
  return Pool(order, [row['label'] for row in rows] if classes else [], classes, groups)


def _plain(value: Any) -> Any:
  # A source may hold numpy's numbers and arrays.
  return value.tolist()
