"""Training that starts from what another run has trained."""

import dataclasses
from pathlib import Path
from typing import Any

from compacter_jax import adapter_file, methods
from compacter_jax.errors import ConfigError
from compacter_jax.method import Method, Tuned
from compacter_jax.model import Model
from experiments import folders


@dataclasses.dataclass(frozen=True)
class Start:
  """What training starts from.

  Attributes:
    tuned: the arrays. arrays: SHA-256, in hex, of the file that has them.
  """

  tuned: Tuned
  arrays: str


def check(where: str, asked: Method, model: Model) -> None:
  """Raises, before weights are read, unless an adapter is there and is of the model's method.

  where: the folder of an adapter or of a run. asked: the method before `Method.prepare`, which may
  find other ids for this task: those say only how arrays would have been drawn.

  Raises WeightsError where there is no adapter, ConfigError with the settings that differ.
  """
  theirs = adapter_file.describe(_folder(where))['method']
  prepared, plain = (dict(folders.flat(methods.to_config(m))) for m in (model.method, asked))
  found = {name: _plain(value) for name, value in folders.flat(theirs)}
  wanted = {name: _plain(value) for name, value in prepared.items() if value == plain.get(name)}
  names = dict.fromkeys((*wanted, *(name for name in found if name not in prepared)))
  if wrong := [name for name in names if found.get(name) != wanted.get(name)]:
    told = lambda values: ', '.join(f'method.{name}={values.get(name)!r}' for name in wrong)
    raise ConfigError(
      'The adapter to start from is of another method.',
      where=f'config.start_from: {where}',
      expected=told(wanted),
      got=told(found),
      fix='take its settings, or start from drawn arrays',
    )


def read(where: str, model: Model, base: str, tokenizer: str) -> Start:
  """What training starts from.

  base, tokenizer: fingerprints, as `adapter_file.load` compares them; raises as that does.
  """
  folder = _folder(where)
  _, tuned = adapter_file.load(folder, model.cfg, base, tokenizer)
  return Start(tuned, adapter_file.describe(folder)['arrays'])


def _folder(where: str) -> Path:
  path = Path(where).expanduser()
  inner = path / folders.ADAPTER
  return inner if (inner / adapter_file.DESCRIPTION).exists() else path


def _plain(value: Any) -> Any:
  """As JSON has it: lists, no tuples."""
  return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
