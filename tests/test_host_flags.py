"""Wrong ways to start a run on several hosts end at once, and lonely ones in time."""

import re
import socket
import subprocess
import sys

import pytest

from compacter_jax.errors import ConfigError
from experiments import hosts
from experiments.hosts import Hosts
from experiments.soak.runs import ROOT, save_base
from tests.runs import CHANGES, Command

BY_HAND = {'coordinator': 'localhost:1234', 'processes': 2, 'process': 1}


@pytest.mark.parametrize(
  ('flags', 'named'),
  [
    ({'hosts': 'all'}, '--hosts'),
    ({'hosts': 'auto', 'process': 0}, '--hosts, --process'),
    ({'hosts': 'auto'} | BY_HAND, '--hosts, --coordinator, --processes, --process'),
    ({'process': 0}, '--coordinator, --processes, --process'),
    ({'coordinator': 'localhost:1234', 'processes': 2}, '--coordinator, --processes, --process'),
    (BY_HAND | {'coordinator': 'localhost'}, '--coordinator'),
    (BY_HAND | {'coordinator': ':1234'}, '--coordinator'),
    (BY_HAND | {'processes': 0}, '--processes'),
    (BY_HAND | {'process': 2}, '--process'),
    (BY_HAND | {'process': -1}, '--process'),
    (BY_HAND | {'connect_seconds': 0}, '--connect_seconds'),
    (BY_HAND | {'heartbeat_seconds': 1}, '--heartbeat_seconds'),
  ],
)
def test_what_cannot_be_is_named(flags, named):
  with pytest.raises(ConfigError) as caught:
    Hosts(**flags)
  assert caught.value.where == named


def test_right_ways_to_ask():
  assert Hosts(**BY_HAND).asked
  assert Hosts(hosts='auto').asked
  assert not Hosts().asked


def test_an_address_that_is_taken_is_told():
  """JAX would crash."""
  refused = pytest.raises(ConfigError, match='cannot listen there')
  with socket.create_server(('', 0)) as taken, refused:
    hosts._check_port(f'localhost:{taken.getsockname()[1]}')


def test_an_abort_waits_until_it_is_explained():
  """Also where a thread of which Python knows nothing aborts."""
  code = """
import ctypes, os, threading
from experiments import hosts
hosts._let_aborts_wait()
threading.Timer(0.5, os._exit, [8]).start()
ctypes.CDLL(None).abort()
"""
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 8, done.stderr


def start(tmp_path, name, *flags):
  log = tmp_path / f'{name}.log'
  return Command(CHANGES | {'model': tmp_path / 'base'}, tmp_path / name, log, flags=flags)


def test_the_command_ends_before_or_in_time(tmp_path):
  """Flags that cannot be, no cluster, no second process, no first one."""
  save_base(tmp_path / 'base')
  with socket.create_server(('localhost', 0)) as free:
    address = f'localhost:{free.getsockname()[1]}'
  by_hand = f'--coordinator={address}', '--processes=2', '--connect_seconds=2'
  wrong = start(tmp_path, 'wrong', '--processes=2')
  nowhere = start(tmp_path, 'nowhere', '--hosts=auto')
  assert wrong.ended() == 2, wrong.told()
  assert 'ConfigError: A process of several needs to know all three' in wrong.told()
  assert nowhere.ended() == 2, nowhere.told()
  assert 'ConfigError: JAX finds no cluster here' in nowhere.told()
  for process in 0, 1:
    lonely = start(tmp_path, f'lonely{process}', *by_hand, f'--process={process}')
    assert lonely.ended() == 8, lonely.told()
    assert re.search(f'PeerError: .*\n  where: {address}\n.*2 of them within 2 s', lonely.told())
  assert {path.suffix for path in tmp_path.iterdir()} == {'', '.log'}
  assert not [path for path in tmp_path.iterdir() if path.is_dir() and path.name != 'base']
