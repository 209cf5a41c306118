"""Handlers of signals that are functions of C, of which Python's `signal` tells nothing."""

import ctypes


def handle(number: int, handler: int | None) -> int | None:
  """Sets the handler of a signal by its address, and gives the one before; None is the default."""
  libc = ctypes.CDLL(None)
  libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
  return libc.signal(number, handler)


def address(function: str) -> int | None:
  """Where a function of the C library lies."""
  return ctypes.cast(getattr(ctypes.CDLL(None), function), ctypes.c_void_p).value


def call(handler: int, number: int) -> None:
  """Calls a handler as the signal would."""
  ctypes.CFUNCTYPE(None, ctypes.c_int)(handler)(number)
