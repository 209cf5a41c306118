"""Patterns of sites and weights.

An expression that somebody made up may take years to match, and a description of an adapter has
patterns; its hash only says that it is what was written, not by whom. So involved ones are refused,
when a method is declared already: what it trains could not be loaded.
"""

import re

from compacter_jax.errors import ConfigError

LONGEST = 1_000  # characters
REPEATS, ALL = 4, 16  # in one alternative, and in all of them; a path has some 60 characters


def compiled(pattern: str) -> re.Pattern[str]:
  """The pattern, to be matched with whole paths.

  Raises ConfigError for one that is none, or whose match might take long.
  """
  if not isinstance(pattern, str):
    raise ConfigError('A pattern is a text.', where='where', got=repr(pattern)[:200])
  check(pattern)
  try:
    return re.compile(pattern)
  except re.error as error:
    raise ConfigError(
      'This is no regular expression.',
      where=f'where={pattern[:200]!r}',
      got=str(error),
      fix="as '.*attention/(q|v)' has it: '.*' is anything, '(a|b)' is a or b",
    ) from error


def check(pattern: str) -> None:
  """Raises ConfigError for a pattern whose match might take long.

  Allowed are those without repeated groups, backreferences and conditions, and with few repeats;
  those within (?=...) and (?!...) count too. Repeats in a row take at most a power of the path's
  length.
  """
  why, pattern = '', re.sub(r'\(\?[:=!]', '(', shown := pattern)
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
      'A pattern may not be as involved as this one.',
      where=f'where={shown[:200]!r}',
      expected='no repeated groups, of (?...) but (?:...), (?=...) and (?!...), at most '
      f'{REPEATS} repeats an alternative and {ALL} in all',
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
