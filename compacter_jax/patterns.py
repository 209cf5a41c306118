"""Patterns that come from a file: an expression that somebody made up may take years to match.

A description of an adapter has patterns of sites. Its hash only says that it is what was written,
not by whom.
"""

import re

from compacter_jax.errors import ConfigError

LONGEST = 1_000  # characters
REPEATS, ALL = 4, 16  # in one alternative, and in all of them; a path has some 60 characters


def check(pattern: str) -> None:
  """Raises ConfigError for a pattern whose match might take long.

  Allowed are those without repeated groups, lookaround, backreferences and conditions, and with
  few repeats. Repeats in a row take at most a power of the path's length.
  """
  why = ''
  if len(pattern) > LONGEST:
    why = f'{len(pattern):,} characters'
  elif odd := re.search(r'\)[*+{]|\(\?|\\\d', pattern):
    why = odd[0]
  elif max(len(re.findall(r'[*+?{]', part)) for part in _alternatives(pattern)) > REPEATS:
    why = f'more than {REPEATS} repeats in one alternative'
  elif len(re.findall(r'[*+?{]', pattern)) > ALL:
    why = f'more than {ALL} repeats'
  if why:
    raise ConfigError(
      'A pattern of a file may not be as involved as this one.',
      where=f'where={pattern[:200]!r}',
      expected=f'no repeated groups, no (?...), {REPEATS} repeats an alternative, {ALL} in all',
      got=why,
    )


def _alternatives(pattern: str) -> list[str]:
  """The parts between the `|`s that are in no group."""
  parts, depth = [''], 0
  for character in pattern:
    depth += {'(': 1, ')': -1}.get(character, 0)
    if character == '|' and depth <= 0:
      parts.append('')
    else:
      parts[-1] += character
  return parts
