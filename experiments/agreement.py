"""Whether all processes of a run are about to do the same."""

import functools
import hashlib
import json
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import compacter_jax
import experiments
from compacter_jax.checkpoints import processes
from compacter_jax.errors import ConfigError, PeerError, StorageError
from experiments import folders, schema
from experiments.inputs import Inputs
from experiments.machine import versions
from experiments.schema import Job

PATIENCE = 10.0  # seconds that a disk of several hosts may take to show a file to all


def identity(job: Job, inputs: Inputs) -> dict[str, str | int]:
  """What a checkpoint, or a run that has ended, must be of to count for this job."""
  task = inputs.task
  scored = [metric.__name__ for metric in task.metrics], task.labels
  start = {'start': inputs.start.arrays} if inputs.start else {}
  return {
    'settings': folders.settings_hash(schema.as_config(job), schema.FREE),
    'base': inputs.base,
    'tokenizer': inputs.tokenizer.fingerprint,
    **{f'{part} rows': split.fingerprint for part, split in inputs.splits.items()},
    'answers': _hash([[split.references, split.groups] for split in inputs.splits.values()]),
    'metrics': _hash(scored),
    **start,
  }


def check_ended(folder: Path, results: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
  """Raises ConfigError where the results in a folder are of other weights or rows.

  Their paths are settings that may change; what lies there may not.
  """
  theirs = results.get('identity', identity)
  names = dict.fromkeys((*identity, *theirs))
  if wrong := [name for name in names if theirs.get(name) != identity.get(name)]:
    raise ConfigError(
      'The run in this folder has ended, and was of something else.',
      where=f'{folder}: {", ".join(wrong)}',
      expected=', '.join(str(identity.get(name)) for name in wrong),
      got=', '.join(str(theirs.get(name)) for name in wrong),
      fix='take another --workdir, or the weights, tokenizer and rows of that run',
    )


def check(
  config: Mapping[str, Any], local: Collection[str], identity: Mapping[str, str | int]
) -> None:
  """Compares settings, code, versions and what a checkpoint must be of among all processes.

  config: the settings. local: names of those that may differ. identity: of the run's checkpoints.

  Raises PeerError in all of them, which names what differs and where.
  """
  if not processes.several():
    return
  plain = folders.flat(json.loads(json.dumps(config)))
  mine = {f'config.{name}': value for name, value in plain if name not in local}
  mine |= {f'version of {name}': version for name, version in versions().items()}
  mine |= {'code': code(), **identity}
  del mine['settings']  # each of them is there
  said = processes.all_say([socket.gethostname(), mine])
  if wrong := differences([told for _, told in said]):
    name = lambda process: f'{process} ({said[process][0]})'
    groups = lambda values: '; '.join(
      f'process {", ".join(map(name, which))}: {value}' for value, which in values.items()
    )
    raise PeerError(
      'The processes of this run are not about to do the same.',
      where=', '.join(wrong),
      expected='the same in all of them',
      got='\n    '.join(f'{field}: {groups(values)}' for field, values in wrong.items()),
      fix='start all of them with the same command, code and files',
    )


def differences(told: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[int]]]:
  """What differs -> each value of it, as JSON -> the processes that have it."""
  found = {}
  for field in sorted({name for each in told for name in each}):
    values: dict[str, list[int]] = {}
    for process, each in enumerate(told):
      values.setdefault(json.dumps(each.get(field)), []).append(process)
    if len(values) > 1:
      found[field] = values
  return found


def check_folder(file: Path) -> None:
  """Raises StorageError in all processes unless they all see that file of the first one."""
  if not processes.several():
    return
  begin = time.monotonic()
  while True:
    seen = processes.all_say(_digest(file))
    if len(set(seen)) == 1 and seen[0]:
      return
    # The first one decides when it is enough, so that all give up at once.
    if processes.first_says(lambda: time.monotonic() - begin > PATIENCE):
      break
    time.sleep(0.2)
  others = [str(process) for process, digest in enumerate(seen) if digest != seen[0]]
  raise StorageError(
    'The folder of a run must be one that all its hosts see.',
    where=str(file.parent),
    got=f'process {", ".join(others)} does not see the {file.name} of process 0',
    fix='take a --workdir on a disk that all hosts share',
  )


@functools.cache
def code() -> str:
  """A hash of the source files of both packages."""
  digest = hashlib.sha256()
  for package in compacter_jax, experiments:
    root = Path(package.__file__ or '').parent
    for file in sorted(root.rglob('*.py')):
      digest.update(f'{root.name}/{file.relative_to(root)}\0'.encode())
      digest.update(hashlib.sha256(file.read_bytes()).digest())
  return digest.hexdigest()[:16]


def _hash(plain: Any) -> str:
  return hashlib.sha256(json.dumps(plain, default=str).encode()).hexdigest()[:16]


def _digest(file: Path) -> str:
  try:
    return hashlib.sha256(file.read_bytes()).hexdigest()
  except OSError:
    return ''
