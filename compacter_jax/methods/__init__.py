"""One file per method; a file's name is the method's name in configs.

`load('compacter', n=4)` imports `compacter_jax.methods.compacter` and makes its one public
method, so that adding a file adds a method.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from compacter_jax import settings
from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError
from compacter_jax.method import Method, fields


def names() -> list[str]:
  """The names of all methods, from the files in this folder."""
  return sorted(module.name for module in pkgutil.iter_modules(__path__))


def method_class(name: str) -> type[Method]:
  """The method that the file `name` defines.  Raises ConfigError for an unknown name."""
  if name not in names():
    raise settings.unknown(f'There is no method of the name {name!r}.', str(name), names())
  module = importlib.import_module(f'{__name__}.{name}')
  found = [
    value
    for value in vars(module).values()
    if inspect.isclass(value) and issubclass(value, Method) and value.__module__ == module.__name__
  ]
  if len(found) != 1:
    raise ConfigError(
      'A file of methods defines one.',
      where=str(module.__file__),
      expected='one class that is a Method',
      got=str([each.__name__ for each in found]),
    )
  return found[0]


def load(name: str, **fields: Any) -> Method:
  """A method by the name of its file, e.g. load('compacter', n=4).

  Raises:
    ConfigError: no such method or field, or a value of the wrong type.
  """
  return _built({'name': name, **fields}, name)


def from_config(config: Mapping[str, Any], where: str = 'method') -> Method:
  """A method from settings: {'name': 'compacter', 'n': 4}, or several of these by name: a chain.

  where: the prefix of the names in messages.

  Raises:
    ConfigError: as `load`, or if the settings are neither.
  """
  if 'name' in config:
    return _built(config, where)
  for part, inner in config.items():
    if not isinstance(inner, Mapping) or 'name' not in inner:
      raise ConfigError(
        'This part of the method does not say which method it is.',
        where=f'{where}.{part}',
        expected=f'settings with a name out of {", ".join(names())}',
        got=repr(inner),
      )
  return chain(**{str(part): _built(inner, f'{where}.{part}') for part, inner in config.items()})


def _built(config: Mapping[str, Any], where: str) -> Method:
  rest = {field: value for field, value in config.items() if field != 'name'}
  name = str(config['name'])
  return settings.build(method_class(name), rest, where)


def to_config(method: Method) -> dict[str, Any]:
  """The inverse of `from_config`, with every field."""
  if isinstance(method, chain):
    return {name: to_config(part) for name, part in method.parts}
  return {'name': type(method).__module__.rpartition('.')[2], **fields(method)}
