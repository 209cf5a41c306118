"""Runs that other folders, or other machines, have made of the same suite."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compacter_jax.errors import DataError
from experiments.report import records

Curve = tuple[tuple[float, ...], ...]


@dataclasses.dataclass(frozen=True)
class Known:
  """What records tell of finished runs.

  Attributes:
    results, curves: by the hash of a run's settings (`plan.digest`), results as far as a suite
      reads them.
    costs: by method and what step was timed, for what it took.
    versions, devices: of all records.
  """

  results: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
  curves: dict[str, Curve] = dataclasses.field(default_factory=dict)
  costs: dict[tuple[str, str], records.Row] = dataclasses.field(default_factory=dict)
  versions: tuple[dict[str, str], ...] = ()
  devices: tuple[str, ...] = ()


def read(files: Iterable[Path], suite: str, base: str) -> Known:
  """All runs of these files; of a run that is in several, the first counts.

  Args:
    suite: its name. base: the fingerprint of its T5.

  Raises:
    DataError: a file is damaged, or is of another suite or T5.
  """
  known, versions, devices = Known(), [], []
  for path in files:
    found = records.read(path)
    here = {'suite': found.suite, 'base': found.base.fingerprint}
    for name, want in {'suite': suite, 'base': base}.items():
      if here[name] != want:
        raise DataError(
          'These records are of another suite.',
          where=f'{path}: {name}',
          expected=want,
          got=here[name],
          fix='leave the file out, or take its suite and T5',
        )
    for run in found.runs:
      _add(known, found, run)
    for row in found.rows:
      if row.time is not None:
        known.costs.setdefault((row.name, found.step), row)
    versions.append(found.versions)
    devices.append(found.device)
  return dataclasses.replace(known, versions=tuple(versions), devices=tuple(devices))


def _add(known: Known, found: records.Records, run: records.Run) -> None:
  if run.job is None or not (run.failed or run.test is not None):
    return  # nobody can tell which job it was, or what it reached on test rows
  known.results.setdefault(run.job, _result(found, run))
  if run.curve:
    known.curves.setdefault(run.job, run.curve)


def _result(found: records.Records, run: records.Run) -> dict[str, Any]:
  (task,) = (task for task in found.tasks if task.name == run.task)
  about = {
    'rows': {'train': run.train_rows, 'validation': task.validation, 'test': task.test},
    'constant': {'validation': task.constant_validation, 'test': task.constant},
    'steps': run.steps,
  }
  if run.failed:
    return {'failed': run.failed, **about}
  (row,) = (row for row in found.rows if row.name == run.row)
  result = {
    'validation': {'average': run.validation},
    'test': {**(run.scores or {}), 'average': run.test, 'invalid': run.invalid or 0},
    'seconds': None if run.seconds is None else {'all': run.seconds},
    'code': run.code,
  }
  return about | result | ({'adapter_bytes': row.file_bytes} if row.file_bytes else {})


def joined(texts: Iterable[str]) -> str:
  """What they list, each once, in order of appearance."""
  return ', '.join(dict.fromkeys(one for text in texts for one in text.split(', ')))
