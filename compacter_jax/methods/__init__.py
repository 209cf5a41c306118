"""One file per method; a file's name is the method's name in configs.

`load('compacter', n=4)` imports `compacter_jax.methods.compacter` and makes its one public
method, so that adding a file adds a method.
"""

import dataclasses
import difflib
import importlib
import inspect
import pkgutil
from typing import Any

from compacter_jax.errors import ConfigError
from compacter_jax.method import Method


def names() -> list[str]:
  """The names of all methods, from the files in this folder."""
  return sorted(module.name for module in pkgutil.iter_modules(__path__))


def method_class(name: str) -> type[Method]:
  """The method that the file `name` defines.  Raises ConfigError for an unknown name."""
  if name not in names():
    near = difflib.get_close_matches(name, names(), 1)
    raise ConfigError(
      f'There is no method {name!r}.',
      expected=f'one of {names()}',
      got=repr(name),
      fix=f'did you mean {near[0]!r}?' if near else '',
    )
  module = importlib.import_module(f'{__name__}.{name}')
  found = [
    value
    for value in vars(module).values()
    if inspect.isclass(value) and issubclass(value, Method) and value.__module__ == module.__name__
  ]
  assert len(found) == 1, f'{module.__file__} must define exactly one method, not {found}'
  return found[0]


def load(name: str, **fields: Any) -> Method:
  """A method by the name of its file, e.g. load('compacter', n=4).

  Raises:
    ConfigError: no such method or field; the message lists those there are.
  """
  cls = method_class(name)
  known = [field.name for field in dataclasses.fields(cls)]
  for field in fields:
    if field not in known:
      near = difflib.get_close_matches(field, known, 1)
      raise ConfigError(
        f'The method {name!r} has no setting {field!r}.',
        expected=f'one of {known}',
        got=repr(field),
        fix=f'did you mean {near[0]!r}?' if near else '',
      )
  return cls(**fields)
