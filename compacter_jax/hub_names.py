"""Names of models: of the shipped T5, and on the Hugging Face Hub.

On the Hub they are 'model' or 'owner/model', and '@' with a branch, tag or commit.

A branch moves, and a model may change under its name. The 40 digits of a commit are a hash of all
that it holds, so 'owner/model@COMMIT' is the same model for ever.
"""

import re
from pathlib import Path
from typing import NamedTuple

# The small T5 that ships with the package, so that there is one where there is no network.
SHIPPED = {'nano': Path(__file__).parent / 'assets' / 'nano_t5'}
_NAME = re.compile(r'([\w-][\w.-]*(?:/[\w-][\w.-]*)?)(?:@([\w-][\w.-]*))?')


class HubName(NamedTuple):
  """A repository of the Hub; `revision` is None for the newest state of its main branch."""

  repository: str
  revision: str | None


def parse(name: str) -> HubName | None:
  """'google/t5-v1_1-base@main' -> HubName('google/t5-v1_1-base', 'main'); None for other texts."""
  found = _NAME.fullmatch(name)
  return HubName(*found.groups()) if found else None
