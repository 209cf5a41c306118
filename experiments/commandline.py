"""The command line: flags to a checked job, errors without tracebacks."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from compacter_jax import settings
from compacter_jax.errors import ConfigError
from experiments import hosts
from experiments.configs import read_config
from experiments.guard import guarded


def start(
  main: Callable[..., None],
  doc: str | None,
  build: Callable[[dict[str, Any]], Any] | None = None,
  default: Path | None = None,
  writes: bool = True,
  several: bool = False,
  given: dict[str, Any] | None = None,
) -> None:
  """Parses --config and --workdir, checks every setting, and calls `main(job, workdir)`.

  build: makes the job of plain settings; by default that of a fine-tuning run.
  default: the config where none is given. writes: whether there must be a workdir.
  given: settings that are there already; then there is no --config, only --config.NAME.
  several: whether it can run on several hosts; `main` is then told to `force` the folder as well.
  A CompacterError is printed and ends the program with the error's exit code.
  """
  config = _defined(given)
  told = (
    'The folder to fill; must hold no other run.' if given is None else 'The folder of the run.'
  )
  workdir = flags.DEFINE_string('workdir', None, told)
  if several:
    hosts.define()
    told = 'Go on though a process on another host says that it has the folder: it has ended.'
    flags.DEFINE_boolean('force_unlock', False, told)
  if default and not any(re.match('--?config(=|$)', arg) for arg in sys.argv[1:]):
    sys.argv.append(f'--config={default}')
  sys.modules['__main__'].__doc__ = doc
  shared = [*hosts.flag_names(), 'force_unlock'] if several else []
  for name in ['config', 'workdir', *shared]:  # else --help shows those of the run module alone
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])

  def parse(argv):
    try:
      rest = flags.FLAGS(argv)
    except Exception as error:  # a config is code: whatever it raises, it is the config's
      raise _explained(argv, error, given) from error
    if flags.FLAGS['verbosity'].using_default_value:  # absl would make it INFO
      logging.set_verbosity(logging.WARNING)  # else jax tells which backends it did not find
    return rest

  def checked(argv):
    there = flags.FLAGS['config'].present or given is not None
    needed = {'config': there, 'workdir': workdir.value or not writes}
    for name, is_there in needed.items():
      if not is_there:
        raise ConfigError(f'--{name} is missing.', fix=_example(doc))
    if len(argv) > 1:
      raise ConfigError('These are no flags.', got=' '.join(argv[1:]), fix='write --NAME=VALUE')
    from experiments import schema

    place = hosts.wanted() if several else hosts.Hosts()
    job = (build or schema.job)(_settings(config))
    with hosts.joined(place):
      main(job, workdir.value, **({'force': flags.FLAGS.force_unlock} if several else {}))

  # What is changed in a config can only be read after the config; ml_collections reads sys.argv.
  sys.argv[1:] = sorted(sys.argv[1:], key=lambda arg: not arg.lstrip('-').startswith('config='))
  guarded(lambda: app.run(checked, flags_parser=parse))


def _defined(given: dict[str, Any] | None) -> flags.FlagHolder:
  """The flag --config, or those of each of the settings given."""
  if given is None:
    told = 'The experiment: a config file.'
    return config_flags.DEFINE_config_file('config', help_string=told)
  told = 'Its settings: --config.NAME=VALUE.'
  try:  # it looks at sys.argv at once
    return config_flags.DEFINE_config_dict('config', ConfigDict(given), help_string=told)
  except Exception as error:
    raise _explained(sys.argv, error, given) from error


def _example(doc: str | None) -> str:
  """The first command that a docstring shows."""
  found = re.search(r'python -m (?:.*\\\n)*.*', doc or '')
  return ' '.join(found[0].replace('\\\n', ' ').split()) if found else ''


def _settings(config: flags.FlagHolder) -> dict[str, Any]:
  try:
    return config.value.to_dict()  # loads the file
  except OSError as error:
    raise ConfigError('The config file cannot be read.', got=str(error)) from error


def _explained(argv: list[str], error: Exception, known: dict[str, Any] | None) -> ConfigError:
  """What is wrong with the flags: the setting that does not exist, or whose value cannot be."""
  parts = [arg.lstrip('-').partition('=') for arg in argv[1:]]
  given = {name: value for name, _, value in parts}
  if 'config' in given or known:
    try:
      config = ConfigDict(known) if known else read_config(Path(given['config']))
    except ConfigError as absent:
      return absent
    for name, value in given.items():
      if name.startswith('config.') and (wrong := _wrong(config, name, value)):
        return wrong
  return ConfigError('The flags cannot be read.', got=f'{type(error).__name__}: {error}')


def _wrong(config: ConfigDict, name: str, value: str) -> ConfigError | None:
  """The error of one --config.NAME=VALUE; None if the setting is there and takes the value."""
  inner, above = config, 'config'
  for key in name.split('.')[1:]:
    if not isinstance(inner, ConfigDict) or key not in inner:
      known = list(inner) if isinstance(inner, ConfigDict) else []
      return settings.unknown(f'{above} has no setting {key!r}.', key, known)
    kind, inner, above = inner.get_type(key), inner[key], f'{above}.{key}'
  try:
    kind(value) if kind in (int, float) else None
  except ValueError:
    return ConfigError(
      f'{name} is of the wrong type.', where=f'--{name}', expected=kind.__name__, got=repr(value)
    )
  return None
