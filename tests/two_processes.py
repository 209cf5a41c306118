"""A program in two processes that find each other, with two devices each."""

import os
import socket
import subprocess
import sys

from experiments.soak.runs import ROOT

# What such a program begins with; its words are the address, its number, and others.
JOIN = """
import json, sys
import jax
jax.config.update('jax_cpu_collectives_implementation', 'gloo')
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
"""


def last_lines(program, *words):
  """What each of them printed last."""
  with socket.create_server(('localhost', 0)) as free:
    address = f'localhost:{free.getsockname()[1]}'
  env = os.environ | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': '2'}
  both = [
    subprocess.Popen(
      [sys.executable, '-c', JOIN + program, address, str(process), *map(str, words)],
      env=env,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for process in range(2)
  ]
  try:
    told = [each.communicate(timeout=120) for each in both]
  finally:
    for each in both:
      each.kill()
  assert not any(each.returncode for each in both), [errors[-3000:] for _, errors in told]
  return [out.splitlines()[-1] for out, _ in told]
