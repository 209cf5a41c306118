"""One file per experiment; each says what differs from `base.py`."""

import importlib.util
from pathlib import Path
from typing import Any

from compacter_jax.errors import ConfigError

HERE = Path(__file__).parent


def config_files() -> list[Path]:
  """Every config file that names a method."""
  others = '__init__', 'base'
  files = (p for p in HERE.glob('*.py') if p.stem not in others and not is_pretraining(p))
  return sorted(files)


def is_pretraining(path: Path) -> bool:
  """Whether a config file is one of `experiments.pretrain`."""
  return path.stem.startswith('pretrain_')


def read_config(path: Path) -> Any:
  """The ConfigDict of a config file.  Raises ConfigError if there is no such file."""
  spec = importlib.util.spec_from_file_location(path.stem, path)
  if spec is None or spec.loader is None or not path.is_file():
    known = HERE / f'{path.stem}.py'
    fix = f'did you mean {known}?' if known.exists() else ''
    told = {'where': str(path), 'expected': 'a Python file', 'fix': fix}
    raise ConfigError('There is no such config file.', **told)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()
