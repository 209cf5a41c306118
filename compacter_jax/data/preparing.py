"""Downloads a data set by tensorflow-datasets and prepares it for random access, once.

tensorflow-datasets asks TensorFlow for little here: to open files of an archive, and for the name
of an integer type. Python and numpy have both and lend them, so that TensorFlow is not needed.
"""

import contextlib
import importlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

from compacter_jax.data.prepared import DATASETS, FORMAT, Dataset, Prepared, folder_of
from compacter_jax.data.tasks import Task
from compacter_jax.errors import ConfigError, DataError, StorageError

SHOWN = 500  # characters of another library's message
BUILDERS = {'glue': ('text.glue', 'Glue'), 'super_glue': ('text.super_glue', 'SuperGlue')}
# All that these builders and the extraction of archives ask of TensorFlow.
LENT = SimpleNamespace(
  int32=np.int32,
  io=SimpleNamespace(gfile=SimpleNamespace(GFile=open)),
  compat=SimpleNamespace(as_text=str),
)


def prepare(
  task: Task,
  root: str | Path = '',
  archives: str | Path = '',
  say: Callable[[str], None] = print,
) -> Prepared:
  """The task's rows below `root`, made unless they are there; '' is tensorflow-datasets' default.

  `archives` is a folder of files that have been downloaded already, under the names they have
  where they are published; those that are not in it are downloaded. Processes that share `root`
  wait for the one that came first. What is not complete is never seen under the final name.

  Raises:
    ConfigError: tensorflow-datasets has no such task, or `archives` is no folder.
    DataError: a file cannot be downloaded, is not the published one, or cannot be read.
    StorageError: `root` cannot be written.
  """
  if task.name not in DATASETS:
    raise ConfigError(
      f'tensorflow-datasets has no {task.name}.', where='task', expected=', '.join(DATASETS)
    )
  if archives and not Path(archives).expanduser().is_dir():
    raise ConfigError('There is no such folder.', where='archives', got=str(archives))
  prepared = Prepared(root, task)
  try:
    if not prepared.folder.is_dir():
      with _alone(prepared.folder, say):  # where another made it meanwhile, building finds it
        _build(prepared.dataset, folder_of(root), archives)
  except DataError:
    raise
  except OSError as error:
    # Where hosts share no locks, several may make it, but only one can give it its name.
    if not prepared.folder.is_dir():
      raise StorageError(
        'The prepared rows cannot be written.',
        where=str(folder_of(root)),
        got=str(error),
        fix='--data_dir=DIR',
      ) from error
  return prepared


@contextlib.contextmanager
def _alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
  """Holds the lock of the data set; the system lets go of it if the process dies."""
  import filelock

  folder.parent.mkdir(parents=True, exist_ok=True)
  lock = filelock.FileLock(folder.parent / f'.{folder.name}.lock')
  try:
    lock.acquire(timeout=0)
  except filelock.Timeout:
    say(f'{folder} is being prepared by another process: waiting')
    lock.acquire()
  try:
    for path in sorted(folder.parent.glob(f'incomplete.*_{folder.name}')):
      say(f'left by a process that was killed, never read and safe to remove: {path}')
    yield
  finally:
    lock.release()


def _build(dataset: Dataset, root: Path, archives: str | Path) -> None:
  import tensorflow_datasets as tfds

  place, name = BUILDERS[dataset.name]
  module = importlib.import_module(f'tensorflow_datasets.{place}')
  extractor = importlib.import_module('tensorflow_datasets.core.download.extractor')
  with _lent(module), _lent(extractor), tempfile.TemporaryDirectory(dir=root) as unpacked:
    builder = getattr(module, name)(
      config=dataset.config, version=dataset.version, data_dir=root, file_format=FORMAT
    )
    config = tfds.download.DownloadConfig(
      # A folder of its own: kept ones are found by the archive's name, and both GLUE and
      # SuperGLUE have an RTE.zip.
      extract_dir=unpacked,
      manual_dir=str(Path(archives).expanduser()) if archives else None,
      try_download_gcs=False,
    )
    with _told(f'{dataset.name}/{dataset.config}'):
      builder.download_and_prepare(download_dir=root / 'downloads', download_config=config)


@contextlib.contextmanager
def _lent(module: ModuleType) -> Iterator[None]:
  """Puts LENT in the place of the module's TensorFlow."""
  own = vars(module).get('tf')
  if own is not None:
    vars(module)['tf'] = LENT
  try:
    yield
  finally:
    if own is not None:
      vars(module)['tf'] = own


@contextlib.contextmanager
def _told(called: str) -> Iterator[None]:
  """Turns what downloading and preparing raise into errors that say what to do."""
  import requests
  from tensorflow_datasets.core.download import download_manager, util

  try:
    yield
  except (requests.RequestException, util.DownloadError) as error:
    raise DataError(
      f'{called} cannot be downloaded.',
      got=str(error)[:SHOWN],
      fix='download the files elsewhere, put them in a folder, and give --archives=DIR',
    ) from error
  except download_manager.NonMatchingChecksumError as error:
    raise DataError(
      f'A file of {called} is not the one that was published.',
      got=str(error).partition('\nTo debug')[0],
      fix='download it again',
    ) from error
  except Exception as error:  # a damaged archive makes the builder raise almost anything
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
      raise
    raise DataError(
      f'{called} cannot be prepared.', got=f'{type(error).__name__}: {str(error)[:SHOWN]}'
    ) from error
