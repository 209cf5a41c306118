"""A small run in processes of its own, by the command that users type."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from compacter_jax.settings import choose
from experiments.configs import HERE, config_files
from experiments.soak import keeping
from experiments.soak.runs import BATCH, ROOT

SETTINGS = {
  'data.task': 'quickstart',
  'data.max_train': 60,  # so that a batch runs over the border of an epoch
  'data.max_validation': 16,
  'data.max_test': 16,
  'batch_size': BATCH,
  'accumulate': 2,
  'steps': 120,
  'eval_every': 45,
  'save_every': 10,
  'log_every': 1,  # every step leaves a line
  'optim.warmup': 5,
  'mesh.devices': 1,
}
HEARTBEAT, CONNECT = 5, 20  # seconds in which a host is missed, and in which all must be there
# What a config needs on a T5 as small as this.
OF_METHODS = {'compacter': {'method.adapters.width': 8}, 'adapter': {'method.adapters.width': 8}}


@dataclasses.dataclass(frozen=True)
class Kind:
  """What is run: a method's config, on so many hosts, which are processes of this machine."""

  method: str
  hosts: int = 1

  @classmethod
  def of(cls, name: str) -> 'Kind':
    """Of `lora`, or `lora:2` for two hosts.  Raises ConfigError for what cannot be."""
    method, _, hosts = name.partition(':')
    choose('methods', method, [file.stem for file in config_files()])
    choose(f'hosts of {method}', hosts or '1', ['1', '2'])
    return cls(method, int(hosts or 1))

  @property
  def settings(self) -> dict[str, Any]:
    """Of hosts none has a base whole, nor, under full fine-tuning, what is trained."""
    split = {'mesh.devices': self.hosts, 'mesh.data': 1, 'mesh.fsdp': self.hosts}
    split |= {'steps': 40, 'eval_every': 15}  # which take several times as long together
    return SETTINGS | OF_METHODS.get(self.method, {}) | (split if self.hosts > 1 else {})


@dataclasses.dataclass(frozen=True)
class Failing:
  """A disk that fails in one of the processes, from a call on; 0 counts the calls."""

  library: Path
  call: int = 0
  error: int = 0
  process: int = 0

  @property
  def environment(self) -> dict[str, str]:
    """Of that process."""
    return {'LD_PRELOAD': str(self.library), keeping.DISK: json.dumps([self.call, self.error])}


@dataclasses.dataclass
class Start:
  """One start of the command, in a process for each host, which append what they say to files.

  Attributes:
    said: characters that were in each file before.
    begun: by the monotonic clock, in seconds.
  """

  processes: list[subprocess.Popen[bytes]]
  logs: list[Path]
  said: list[int]
  begun: float

  @classmethod
  def of(
    cls, kind: Kind, base: Path, out: Path, cache: Path, failing: Failing | None = None
  ) -> 'Start':
    """Starts a run in the folder `out`, whose logs lie beside it."""
    settings = kind.settings | {'model': base}
    args = [sys.executable, '-m', 'experiments.soak.keeping', f'--config={HERE / kind.method}.py']
    args += [*(f'--config.{name}={value}' for name, value in settings.items()), f'--workdir={out}']
    own = {
      'PYTHONPATH': str(ROOT),
      'PYTHONUNBUFFERED': '1',
      'JAX_COMPILATION_CACHE_DIR': str(cache),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
    }
    logs = [out.with_suffix(f'.{i}.log') for i in range(kind.hosts)]
    start, flags = cls([], logs, [], time.monotonic()), _together(kind.hosts)
    for flag, log in zip(flags, logs, strict=True):
      mine = failing.environment if failing and failing.process == len(start.processes) else {}
      with log.open('ab') as file:
        start.said.append(file.tell())
        env, both = os.environ | own | mine, subprocess.STDOUT
        process = subprocess.Popen(args + flag, cwd=ROOT, env=env, stdout=file, stderr=both)
        start.processes.append(process)
    return start

  def within(self, seconds: float, but: int | None = None) -> list[int] | None:
    """The exit codes, or None if one goes on after so many seconds.  but: not waited for."""
    until = time.monotonic() + seconds
    waited = [each for i, each in enumerate(self.processes) if i != but]
    try:
      return [each.wait(max(until - time.monotonic(), 0)) for each in waited]
    except subprocess.TimeoutExpired:
      return None

  def kill(self) -> list[int]:
    """Ends all that go on, those that are stopped, too; the exit codes."""
    for each in self.processes:
      each.kill()
    return [each.wait() for each in self.processes]

  def told(self, process: int = 0) -> str:
    """What one has said since it began."""
    with self.logs[process].open('rb') as file:
      file.seek(self.said[process])
      return file.read().decode(errors='replace')

  def since(self) -> float:
    """Seconds since it began."""
    return time.monotonic() - self.begun


def _together(hosts: int) -> list[list[str]]:
  """For each process the flags that tell it of the others."""
  if hosts == 1:
    return [[]]
  with socket.create_server(('localhost', 0)) as free:
    address = f'localhost:{free.getsockname()[1]}'
  given = {'coordinator': address, 'processes': hosts}
  given |= {'connect_seconds': CONNECT, 'heartbeat_seconds': HEARTBEAT}
  flags = [f'--{name}={value}' for name, value in given.items()]
  return [[*flags, f'--process={i}'] for i in range(hosts)]
