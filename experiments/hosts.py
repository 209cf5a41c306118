"""One run over several hosts: how its processes are told of each other, and joined."""

import contextlib
import dataclasses
import re
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from absl import flags

from compacter_jax.errors import ConfigError, PeerError
from compacter_jax.settings import within
from experiments import c_signals, guard

BY_HAND = 'coordinator', 'processes', 'process'
LONGER = 15  # seconds by which JAX, which aborts, is slower to lose patience than we are


@dataclasses.dataclass(frozen=True)
class Hosts:
  """The processes of a run and this one's place among them.

  Attributes:
    hosts: 'auto' where JAX finds the rest by itself, as on TPU pods and under Slurm.
    coordinator: HOST:PORT on which the first process listens. processes: how many there are.
    process: which of them this is.
    connect_seconds: how long one waits for the others at the start.
    heartbeat_seconds: a process that gives no sign of life for so long is lost.
  """

  hosts: str = ''
  coordinator: str = ''
  processes: int | None = None
  process: int | None = None
  connect_seconds: int = 300
  heartbeat_seconds: int = 30

  def __post_init__(self):
    given = [name for name in BY_HAND if getattr(self, name) not in ('', None)]
    if self.hosts not in ('', 'auto'):
      raise ConfigError(
        'There are no such hosts.', where='--hosts', expected='auto', got=repr(self.hosts)
      )
    if self.hosts and given:
      raise ConfigError(
        'Processes find each other by themselves or by hand.',
        where=', '.join(f'--{name}' for name in ('hosts', *given)),
        expected='--hosts=auto alone, or --coordinator, --processes and --process',
      )
    if given and len(given) < len(BY_HAND):
      raise ConfigError(
        'A process of several needs to know all three of these.',
        where=', '.join(f'--{name}' for name in BY_HAND),
        got=', '.join(f'--{name}' for name in given),
        fix='give all of them, to every process; only --process differs',
      )
    within('--connect_seconds', self.connect_seconds, 1)
    within('--heartbeat_seconds', self.heartbeat_seconds, 5)
    if self.processes is not None and self.process is not None:
      within('--processes', self.processes, 1)
      within('--process', self.process, 0, self.processes - 1)
      if not re.fullmatch(r'.+:\d{1,5}', self.coordinator):
        raise ConfigError(
          'This is no address.',
          where='--coordinator',
          expected='HOST:PORT of the first process',
          got=repr(self.coordinator),
        )

  @property
  def asked(self) -> bool:
    """Whether there is anything to join."""
    return bool(self.hosts or self.coordinator)


def define() -> None:
  """The flags of a command that can run on several hosts."""
  default, text, number = Hosts(), flags.DEFINE_string, flags.DEFINE_integer
  text('hosts', '', "Several hosts: 'auto' lets JAX find them, as on TPU pods and under Slurm.")
  text('coordinator', '', 'Several hosts: HOST:PORT on which the first process listens.')
  number('processes', None, 'Several hosts: how many processes there are.')
  number('process', None, 'Several hosts: which of them this is, from 0.')
  wait = 'Several hosts: seconds to wait for the others at the start.'
  number('connect_seconds', default.connect_seconds, wait)
  silence = 'Several hosts: seconds without a sign of life after which a process is lost.'
  number('heartbeat_seconds', default.heartbeat_seconds, silence)


def flag_names() -> list[str]:
  """The names of these flags."""
  return [field.name for field in dataclasses.fields(Hosts)]


def wanted() -> Hosts:
  """What the flags say.  Raises ConfigError for what cannot be."""
  given: dict[str, Any] = {name: flags.FLAGS[name].value for name in flag_names()}
  return Hosts(**given)


@contextlib.contextmanager
def joined(hosts: Hosts) -> Iterator[None]:
  """The processes connected, watching each other.  To be called before JAX is used.

  Where they do not find each other in time, or one is lost later, this process ends with the exit
  code of PeerError.

  Raises ConfigError where JAX finds no cluster, or the address cannot be listened on.
  """
  if not hosts.asked:
    yield
    return
  _let_aborts_wait()
  _connect(hosts)
  from experiments.peers import Peers

  with Peers(hosts.heartbeat_seconds).watched():
    yield


def _connect(hosts: Hosts) -> None:
  import jax

  if hosts.process == 0:
    _check_port(hosts.coordinator)
  late = threading.Timer(hosts.connect_seconds, guard.end, [_not_found(hosts)])
  late.daemon = True
  late.start()
  how: dict[str, Any] = {
    'initialization_timeout': hosts.connect_seconds + LONGER,
    'heartbeat_timeout_seconds': hosts.heartbeat_seconds + LONGER,
    'shutdown_timeout_seconds': hosts.heartbeat_seconds,
  }
  if hosts.coordinator:
    known = hosts.coordinator, hosts.processes, hosts.process
    jax.distributed.initialize(*known, cluster_detection_method='deactivate', **how)
  else:
    try:
      jax.distributed.initialize(**how)
    except ValueError as error:
      fix = 'give --coordinator, --processes and --process, or leave --hosts out'
      raise ConfigError(
        'JAX finds no cluster here.', where='--hosts=auto', got=str(error), fix=fix
      ) from error
  late.cancel()


def _not_found(hosts: Hosts) -> PeerError:
  return PeerError(
    'The processes of this run did not find each other.',
    where=hosts.coordinator or '--hosts=auto',
    expected=f'{hosts.processes or "all"} of them within {hosts.connect_seconds} s',
    fix='start all of them, with the same --coordinator that every host can reach',
  )


def _check_port(address: str) -> None:
  """JAX crashes where it cannot listen."""
  port = int(address.rpartition(':')[2])
  try:
    with socket.create_server(('', port)):
      pass
  except (OSError, OverflowError) as error:
    raise ConfigError(
      'The first process cannot listen there.', where='--coordinator', got=str(error)
    ) from error


def _let_aborts_wait() -> None:
  """JAX aborts the process as soon as the first one is gone: let it wait until we have said so.

  `sleep` is called with the number of the signal, so it is 6 seconds; then the abort goes on. No
  Python is run by a thread of which nothing is known.
  """
  c_signals.handle(signal.SIGABRT, c_signals.address('sleep'))
