"""Untyped settings (a config, a JSON file) to frozen dataclasses, with every mistake named."""

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from compacter_jax.errors import ConfigError

T = TypeVar('T')
_PLAIN = bool, int, float, str, type(None)


def build(cls: type[T], values: Mapping[str, Any], where: str = '') -> T:
  """`cls(**values)`, once every name and type is checked against the fields of the dataclass.

  Lists become tuples and whole numbers floats where the field says so; nothing else is converted.
  where: the prefix of the names in messages, e.g. 'config.optim'.

  Raises:
    ConfigError: an unknown name (with the nearest known one), a missing one, a wrong type, a
      number that is not finite, or whatever the dataclass itself refuses, with the whole name.
  """
  hints = typing.get_type_hints(cls)
  fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # pyright: ignore
  for name in values:
    if name not in fields:
      what = f'{where} has no setting' if where else 'There is no setting'
      raise unknown(f'{what} {name!r}.', name, fields)
  needed = (dataclasses.MISSING, dataclasses.MISSING)
  missing = [n for n, f in fields.items() if (f.default, f.default_factory) == needed]
  if absent := [name for name in missing if name not in values]:
    raise ConfigError('Settings are missing.', where=where, expected=', '.join(absent))
  checked = {n: _checked(v, hints[n], f'{where}.{n}'.lstrip('.')) for n, v in values.items()}
  try:
    return cls(**checked)
  except ConfigError as error:
    named = error.where.split(', ')  # one field or several, or something inside of one
    if not where or any(name.partition('.')[0] not in fields for name in named):
      raise
    raise error.moved(', '.join(f'{where}.{name}' for name in named)) from None


def conform(instance: Any, where: str) -> None:
  """Checks the fields of a frozen dataclass that was made in Python, as `build` does.

  What `build` converts is converted in place, and scalars of NumPy and JAX become plain numbers.
  Fields of types that settings do not have are left alone.

  Raises ConfigError for a value of the wrong type.
  """
  hints = _hints(type(instance))
  for field in dataclasses.fields(instance):
    value, hint = getattr(instance, field.name), hints[field.name]
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if not all(option in _PLAIN or typing.get_origin(option) is tuple for option in options):
      continue
    if getattr(value, 'shape', None) == ():
      value = value.item()
    object.__setattr__(instance, field.name, _checked(value, hint, f'{where}.{field.name}'))


def unknown(what: str, name: str, known: Any, where: str = '') -> ConfigError:
  """The error for a name that is none of the known ones."""
  near = difflib.get_close_matches(str(name), list(known), 1)
  fix = f'did you mean {near[0]!r}?' if near else ''
  expected = f'one of {", ".join(known)}'
  return ConfigError(what, where=where, expected=expected, got=repr(name), fix=fix)


def choose(field: str, value: Any, choices: typing.Collection[Any]) -> None:
  """Raises a ConfigError unless the value is one of the choices."""
  if value not in choices:
    raise unknown(f'{field} cannot be {value!r}.', str(value), [str(c) for c in choices], field)


def check_seed(field: str, seed: int) -> None:
  """Raises a ConfigError unless it is a seed by itself: jax.random takes the last 32 bits."""
  within(field, seed, 0, 2**32 - 1)


def within(field: str, value: float, low: float, high: float = math.inf) -> None:
  """Raises a ConfigError unless low <= value <= high."""
  if not low <= value <= high:
    raise ConfigError(
      f'{field} is out of range.', where=field, expected=f'{low} to {high}', got=str(value)
    )


_hints = functools.cache(typing.get_type_hints)


def _checked(value: Any, hint: Any, where: str) -> Any:
  options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
  for option in options:
    fits, result = _convert(value, option)
    if fits:
      return result
  names = ' or '.join(
    'None' if o is type(None) else getattr(o, '__name__', str(o)) for o in options
  )
  finite = isinstance(value, float) and not math.isfinite(value)
  raise ConfigError(
    f'{where} is of the wrong {"value" if finite else "type"}.',
    where=where,
    expected=f'a finite {names}' if finite else names,
    got=f'{value!r} ({type(value).__name__})',
  )


def _convert(value: Any, option: Any) -> tuple[bool, Any]:
  """Whether the value fits one plain type, and the value as that type."""
  if option is type(None):
    return value is None, None
  if option is bool or isinstance(value, bool):
    return isinstance(value, bool) and option is bool, value
  if option is float:
    fits = isinstance(value, int | float) and math.isfinite(value)
    return fits, float(value) if fits else value
  if typing.get_origin(option) is tuple:
    if not isinstance(value, list | tuple):
      return False, value
    each = [_convert(v, typing.get_args(option)[0]) for v in value]
    return all(fits for fits, _ in each), tuple(v for _, v in each)
  return isinstance(value, option), value
