"""A disk that fails: calls below a folder, from a given one on, as if it were full or broken.

crashfs.c, compiled with the C compiler that is there, is loaded before a program (LD_PRELOAD), and
the program says when.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name('crashfs.c')


def library(folder: Path) -> Path | None:
  """The compiled library, in a folder; None where there is no C compiler, or no Linux."""
  compiler = shutil.which('cc')
  if not compiler or not sys.platform.startswith('linux'):
    return None
  out = folder / 'crashfs.so'
  flags = ['-shared', '-fPIC', '-O1', '-o', str(out)]
  subprocess.run([compiler, *flags, str(SOURCE), '-ldl'], check=True)
  return out


def fail(folder: str | Path, call: int, error: int) -> None:
  """From now on calls that change files below a folder fail from a given one on; 0 counts only.

  folder: as the program spells it, and the system: absolute, without links.
  error: the number of the system's error; with ENOSPC one can still remove.
  """
  shim = ctypes.CDLL(None)
  shim.crashfs_arm(os.fsencode(folder), ctypes.c_long(call), ctypes.c_int(error))


def calls() -> int:
  """How many calls were counted since."""
  shim = ctypes.CDLL(None)
  shim.crashfs_calls.restype = ctypes.c_long
  return shim.crashfs_calls()
