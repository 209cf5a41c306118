"""From the name of a model to the folder that holds its files."""

from pathlib import Path

from compacter_jax.errors import WeightsError
from compacter_jax.hub_names import SHIPPED, HubName, parse
from compacter_jax.t5.names import listed

DESCRIPTION = 'config.json', 'spiece.model', 'tokenizer*', 'special_tokens_map.json'
# Only as safetensors: a pickled copy would be fetched in vain.
WEIGHTS = '*.safetensors', '*.safetensors.index.json'


def resolve(name_or_dir: str | Path, weights: bool = True) -> Path:
  """The folder itself, that of the shipped 'nano', or of a model on the Hugging Face Hub.

  The Hub's 'owner/model@COMMIT' is the same for ever (`hub_names`). What is on the Hub is fetched
  where it is not cached; `weights` says whether these are too.
  Raises WeightsError where there is neither, and says what is there.
  """
  path = Path(name_or_dir).expanduser()
  if path.is_dir():
    return path
  if str(name_or_dir) in SHIPPED:
    return SHIPPED[str(name_or_dir)]
  if path.exists():
    raise WeightsError('A model is a folder, not a file.', got=str(path), fix=f'give {path.parent}')
  if not (name := parse(str(name_or_dir))):
    raise WeightsError('There is no such folder.', where=str(path), got=_neighbours(path))
  return _snapshot(name, path, DESCRIPTION + WEIGHTS if weights else DESCRIPTION)


def _snapshot(name: HubName, path: Path, wanted: tuple[str, ...]) -> Path:
  """The folder of a model of the Hub."""
  from huggingface_hub import errors, snapshot_download

  try:
    found = snapshot_download(name.repository, revision=name.revision, allow_patterns=list(wanted))
    return Path(found)
  except errors.RevisionNotFoundError as error:
    what = f'The model {name.repository!r} has no branch, tag or commit {name.revision!r}.'
    raise WeightsError(what, fix=f'look it up: hf.co/{name.repository}/commits/main') from error
  except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
    what, fix = (
      f'The Hub has no model {name.repository!r}, or keeps it private.',
      'look for a typing error; a private model needs `hf auth login`',
    )
    raise WeightsError(what, got=_neighbours(path), fix=fix) from error
  except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
    command = ' --revision '.join(filter(None, name))
    raise WeightsError(
      f'{str(path)!r} is neither a folder nor in the cache, and the Hub cannot be reached.',
      where=str(path.absolute()),
      got=f'{_neighbours(path)}; {type(error).__name__}',
      fix=f'where there is a network, run `hf download {command}`, then copy its folder here',
    ) from error


def _neighbours(path: Path) -> str:
  """What lies in the deepest folder above `path` that exists."""
  folder = next(parent for parent in path.absolute().parents if parent.is_dir())
  inside = sorted(child.name for child in folder.iterdir())
  return f'{folder} holds {listed(inside) or "nothing"}'
