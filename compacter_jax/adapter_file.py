"""The adapter file: what was tuned, how it is grafted, and the one base that it fits.

A folder with `adapter.safetensors` (arrays by flat names) and `adapter.json` (everything else).
The JSON is written last and holds the hash of the arrays and its own: both are whole, or there is
no adapter. Files of earlier versions have no hash of the JSON, and are read all the same.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import compacter_jax
from compacter_jax import method as method_lib
from compacter_jax import methods, patterns, sealed, settings, tensor_file
from compacter_jax.errors import CompacterError, ConfigError, StorageError, WeightsError
from compacter_jax.method import Tuned
from compacter_jax.model import Model
from compacter_jax.t5.config import Config
from compacter_jax.weights import Flat

ARRAYS, DESCRIPTION = 'adapter.safetensors', 'adapter.json'
FORMAT = 1
NEEDED = 'format', 'method', 't5', 'base', 'arrays'
UNSEALED = {*NEEDED, 'version', 'dtype', 'tokenizer', 'seed', 'notes'}  # in files without a hash


class Fingerprint:
  """That of weights which are never all there: they are shown one by one, by rising path."""

  def __init__(self) -> None:
    self._digest, self._last = hashlib.sha256(), ''

  def add(self, path: str, weight: Any) -> None:
    """Raises ValueError for a path out of order, which would be another fingerprint."""
    if path <= self._last:
      raise ValueError(f'{path} does not follow {self._last}')
    array, self._last = np.asarray(weight), path
    self._digest.update(f'{path} {array.dtype} {array.shape}\n'.encode())
    self._digest.update(np.ascontiguousarray(array).view(np.uint8).data)

  def __str__(self) -> str:
    return self._digest.hexdigest()


def fingerprint(weights: Mapping[str, Any]) -> str:
  """SHA-256, in hex, of all weights with their paths, dtypes and shapes."""
  found = Fingerprint()
  for path, weight in sorted(weights.items()):
    found.add(path, weight)
  return str(found)


def save(
  directory: str | Path,
  model: Model,
  tuned: Tuned,
  base: str,
  tokenizer: str = '',
  seed: int | None = None,
  notes: Mapping[str, Any] | None = None,
) -> None:
  """Writes the adapter.

  base, tokenizer: fingerprints of T5's weights, all of them, and of the tokenizer.
  notes: anything more to keep, as JSON: the task, the lengths, the scores.

  Raises, before anything is written where `load` would refuse it:
    WeightsError: the arrays are not those of the model's method.
    ConfigError: the method, the fingerprint or the notes cannot be kept.
    StorageError: the folder cannot be written.
  """
  directory = Path(directory)
  arrays = {name: np.asarray(array) for name, array in _flat(tuned).items()}
  _compare(model, arrays, directory)
  description = _description(model, base, tokenizer, seed, notes)
  try:
    directory.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise StorageError(
      'There can be no such folder.', where=str(directory), got=str(error)
    ) from error
  tensor_file.write(directory / ARRAYS, arrays)
  sealed.write(directory / DESCRIPTION, description | {'arrays': _hash(directory / ARRAYS)})


def _description(
  model: Model, base: str, tokenizer: str, seed: int | None, notes: Mapping[str, Any] | None
) -> dict[str, Any]:
  """What the JSON tells but for the arrays' hash, as JSON has it."""
  if not isinstance(base, str):
    raise ConfigError(
      'A base is named by its fingerprint.',
      where='base',
      got=type(base).__name__,
      fix='fingerprint(frozen)',
    )
  fields = {
    'format': FORMAT,
    'version': compacter_jax.__version__,
    'method': methods.to_config(model.method),
    't5': dataclasses.asdict(model.cfg),
    'dtype': model.dtype,
    'base': base,
    'tokenizer': tokenizer,
    'seed': seed,
    'arrays': '',
    'notes': dict(notes or {}),
  }
  for name, field in fields.items():
    try:
      fields[name] = json.loads(json.dumps(field, default=_number))
    except (TypeError, ValueError) as error:
      told = 'numbers, texts, lists and objects of them'
      raise ConfigError(
        'This cannot be kept with an adapter.', where=name, expected=told, got=str(error)[:300]
      ) from error
  kept = methods.from_config(fields['method'])
  if kept != model.method:
    raise ConfigError(
      'This method cannot be read again as it is.',
      where='method',
      expected=str(model.method),
      got=str(kept),
    )
  return fields


def _number(value: Any) -> Any:
  """The plain number of a NumPy or JAX scalar."""
  if getattr(value, 'shape', None) == ():
    return value.item()
  raise TypeError(f'{value!r:.200} is a {type(value).__name__}')


def describe(directory: str | Path) -> dict[str, Any]:
  """The content of adapter.json.  Raises WeightsError if there is no whole adapter."""
  path = Path(directory) / DESCRIPTION
  if not path.exists():
    found = sorted(p.name for p in path.parent.glob('*')) if path.parent.is_dir() else 'no folder'
    raise WeightsError(
      'There is no adapter here.', where=str(path), expected=DESCRIPTION, got=str(found)
    )
  described = sealed.read(path)
  odd = described.keys() - UNSEALED if sealed.KEY not in described else ()
  if odd or any(key not in described for key in NEEDED):
    raise WeightsError(
      'This adapter is incomplete or damaged.',
      where=str(path),
      expected=f'the keys {", ".join(NEEDED)}',
      got=str(sorted(described))[:200],
    )
  if described['format'] != FORMAT:
    raise WeightsError(
      'This adapter is of another format.',
      where=str(path),
      expected=str(FORMAT),
      got=repr(described['format']),
      fix=f'use the version that wrote it, {described.get("version")}',
    )
  return described


def load(
  directory: str | Path, cfg: Config, frozen: Flat | str, tokenizer: str | None = None
) -> tuple[Model, Tuned]:
  """The model and what was tuned, for the very base (and tokenizer) that it was trained on.

  frozen: all of T5's weights, or their fingerprint. tokenizer: its fingerprint, or None to compare
  none.
  Raises WeightsError for another base or tokenizer and for an adapter that is damaged.
  """
  directory = Path(directory)
  described = describe(directory)
  _same('config', described['t5'], dataclasses.asdict(cfg), directory)
  if tokenizer is not None:
    _same('tokenizer', described.get('tokenizer'), tokenizer, directory)
  base = frozen if isinstance(frozen, str) else fingerprint(frozen)
  _same('base weights', described['base'], base, directory)
  return _read(described, cfg, directory)


def check(directory: str | Path) -> Model:
  """Reads an adapter as `load` does, but without its base; the model it is part of.

  Raises WeightsError for all that can be wrong with the two files by themselves.
  """
  directory = Path(directory)
  described = describe(directory)
  try:
    cfg = settings.build(Config, described['t5'])
  except (CompacterError, TypeError, AttributeError) as error:
    raise WeightsError(
      'The T5 of this adapter is unknown.', where=str(directory / DESCRIPTION), got=str(error)
    ) from error
  return _read(described, cfg, directory)[0]


def _read(described: Mapping[str, Any], cfg: Config, directory: Path) -> tuple[Model, Tuned]:
  _same('arrays', described['arrays'], _hash(directory / ARRAYS), directory)
  try:
    for pattern in _patterns(described['method']):
      patterns.check(pattern)
    method = methods.from_config(described['method'])
    model = settings.build(Model, {'cfg': cfg, 'method': method, 'dtype': described['dtype']})
    model.specs()
  except Exception as error:  # a description that was changed makes a method raise almost anything
    raise WeightsError(
      'The method of this adapter is unknown.', where=str(directory / DESCRIPTION), got=str(error)
    ) from error
  arrays = tensor_file.read(directory / ARRAYS)
  _compare(model, arrays, directory)
  specs = model.specs()
  treedef = jax.tree.structure(specs, is_leaf=method_lib.is_spec)
  return model, treedef.unflatten([jnp.array(arrays[name]) for name in _flat(specs)])


def _patterns(settings: Any) -> Iterator[str]:
  """All that stands under 'where' in the settings of a method, or of the parts of a chain."""
  if isinstance(settings, Mapping):
    for name, value in settings.items():
      if name == 'where' and isinstance(value, str):
        yield value
      yield from _patterns(value)


def _compare(model: Model, arrays: Mapping[str, np.ndarray], directory: Path) -> None:
  """Raises WeightsError unless these are the arrays that the method declares."""
  want = {name: (spec.shape, 'float32') for name, spec in _flat(model.specs()).items()}
  got = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
  if want != got:
    differ = sorted(n for n in want.keys() | got.keys() if want.get(n) != got.get(n))
    raise WeightsError(
      'The arrays are not those of the method.',
      where=str(directory / ARRAYS),
      expected=str({n: want.get(n) for n in differ[:5]}),
      got=str({n: got.get(n) for n in differ[:5]}),
    )


def _flat(tree: Any) -> dict[str, Any]:
  """The leaves by a name that says where they lie, in the order of the tree."""
  leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=method_lib.is_spec)
  name = lambda path: ':'.join(str(getattr(k, 'name', getattr(k, 'key', k))) for k in path)
  return {name(path): leaf for path, leaf in leaves}


def _hash(path: Path) -> str:
  with tensor_file.reading(path) as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()  # pyright: ignore


def _same(what: str, want: Any, got: Any, directory: Path) -> None:
  if want == got:
    return
  if isinstance(want, dict) and isinstance(got, dict):
    keys = sorted(k for k in want.keys() | got.keys() if want.get(k) != got.get(k))
    want, got = ({k: d.get(k) for k in keys} for d in (want, got))
  fixes = {
    'arrays': 'the file was changed or damaged after it was written: copy it again',
    'tokenizer': 'load the tokenizer that it was trained with',
  }
  raise WeightsError(
    f'This adapter does not fit: another {what}.',
    where=str(directory),
    expected=str(want),
    got=str(got),
    fix=fixes.get(what, 'load the T5 that it was trained on, in the same dtype'),
  )
