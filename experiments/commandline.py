"""The command line: flags to a checked job, errors without tracebacks."""

import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from compacter_jax.errors import CompacterError, ConfigError


def start(main: Callable[[Any, str], None], doc: str | None) -> None:
  """Parses --config and --workdir, checks every setting, and calls `main(job, workdir)`.

  A CompacterError is printed and ends the program with the error's exit code.
  """
  config = config_flags.DEFINE_config_file('config', help_string='The experiment: a config file.')
  workdir = flags.DEFINE_string('workdir', None, 'The folder to fill; must hold no other run.')
  sys.modules['__main__'].__doc__ = doc

  def parse(argv):
    try:
      return app.parse_flags_with_usage(argv)
    except CompacterError:
      raise
    except Exception as error:  # a config is code: whatever it raises, it is the config's
      raise ConfigError(
        'The settings cannot be read.', where=' '.join(argv[1:])[:200], got=_plain(error)
      ) from error

  def checked(argv):
    from experiments import schema

    if flags.FLAGS['verbosity'].using_default_value:
      logging.set_verbosity(logging.WARNING)  # else jax tells which backends it did not find

    for name, value in ('config', config.value), ('workdir', workdir.value):
      if not value:
        raise ConfigError(
          f'--{name} is missing.',
          fix='python -m experiments.run --config=experiments/configs/compacter.py --workdir=W',
        )
    if len(argv) > 1:
      raise ConfigError('These are no flags.', got=' '.join(argv[1:]), fix='write --NAME=VALUE')
    main(schema.job(config.value.to_dict()), workdir.value)

  _guarded(lambda: app.run(checked, flags_parser=parse))


def _guarded(work: Callable[[], None]) -> None:
  try:
    work()
  except CompacterError as error:
    print(f'\n{type(error).__name__}: {error}', file=sys.stderr)
    sys.exit(error.exit_code)


def _plain(error: Exception) -> str:
  return f'{type(error).__name__}: {error}'.replace('\\n', '\n')
