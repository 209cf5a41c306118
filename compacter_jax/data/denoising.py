"""What T5 is pretrained to do: chunks of a text to source and target, all of the same length.

Span corruption (Raffel et al. 2020, 3.1.4): a share of a chunk's ids is noise, in spans between
which something stands; the source has a sentinel in the place of each span, the target has the
spans, each behind its sentinel. Prefix language modelling (3.2.3) cuts each chunk in two.
Shapes: B chunks, C their length, S source length, T target length.
"""

import dataclasses

import numpy as np

from compacter_jax.data.encoding import PAD
from compacter_jax.data.pipeline import Batch
from compacter_jax.data.sentencepiece_tokenizer import SENTINELS
from compacter_jax.errors import ConfigError
from compacter_jax.settings import choose, within

OBJECTIVES = 'span_corruption', 'prefix_lm'


@dataclasses.dataclass(frozen=True)
class Denoising:
  """How a chunk becomes source and target.

  Attributes:
    objective: 'span_corruption' or 'prefix_lm', for which density and span mean nothing.
    chunk: C, ids of a chunk.
    density: share of the ids that are noise.
    span: mean length of a span of noise in ids.

  Raises ConfigError for what cannot be: among it more spans than there are sentinels.
  """

  objective: str = 'span_corruption'
  chunk: int = 150
  density: float = 0.15
  span: float = 3.0

  def __post_init__(self):
    choose('objective', self.objective, OBJECTIVES)
    within('chunk', self.chunk, 2)
    if self.objective != 'span_corruption':
      return
    within('span', self.span, 1)
    within('density', self.density, 1 / self.chunk, 1 - 1 / self.chunk)
    if self.spans > SENTINELS:
      raise ConfigError(
        'A chunk has more spans of noise than there are sentinels.',
        where='chunk * density / span',
        expected=f'at most {SENTINELS}',
        got=str(self.spans),
        fix=f'chunk={int(SENTINELS * self.span / self.density)} is the longest with this noise',
      )

  @property
  def noise(self) -> int:
    """Ids of a chunk that are noise, of at least one and never of all."""
    return min(max(round(self.chunk * self.density), 1), self.chunk - 1)

  @property
  def spans(self) -> int:
    """Spans of noise in a chunk; each has ids, and ids in front of it."""
    return min(max(round(self.noise / self.span), 1), self.chunk - self.noise)

  def batch(self, chunks: np.ndarray, random: np.random.Generator, eos: int, top: int) -> Batch:
    """chunks: [B,C] ids -> 'source' int32 [B,S] and 'target' int32 [B,T], each ending in `eos`.

    top: the id of the first sentinel, the next ones lie below it.
    """
    if self.objective == 'prefix_lm':
      return _cut(chunks, random, eos)
    noise = noise_mask(len(chunks), self.chunk, self.noise, self.spans, random)
    return {
      'source': _with_sentinels(chunks, noise, eos, top),
      'target': _with_sentinels(chunks, ~noise, eos, top),
    }


def noise_mask(
  rows: int, length: int, noise: int, spans: int, random: np.random.Generator
) -> np.ndarray:
  """Which ids are noise: bool [rows, length], `noise` of them in `spans` runs, a row ending in one.

  The lengths of the runs, and of those between, are uniform among all that there can be.
  """
  kept, lost = (_composition(rows, n, spans, random) for n in (length - noise, noise))
  lengths = np.stack([kept, lost], -1).reshape(rows, -1)  # kept, lost, kept, lost ...
  ends = np.cumsum(lengths, 1)
  borders = np.zeros((rows, length), np.int64)
  np.put_along_axis(borders, ends[:, :-1], 1, 1)
  return np.cumsum(borders, 1) % 2 == 1


def _composition(rows: int, total: int, parts: int, random: np.random.Generator) -> np.ndarray:
  """Each row sums to `total`: [rows, parts] whole numbers of at least 1, uniformly chosen."""
  cuts = np.sort(np.argsort(random.random((rows, total - 1)), 1)[:, : parts - 1] + 1, 1)
  edges = np.concatenate([np.zeros((rows, 1), int), cuts, np.full((rows, 1), total)], 1)
  return np.diff(edges, axis=1)


def _with_sentinels(chunks: np.ndarray, hidden: np.ndarray, eos: int, top: int) -> np.ndarray:
  """The chunks [B,C] with one sentinel for each run of `hidden` ids, and `eos` at the end."""
  first = hidden & ~np.pad(hidden, ((0, 0), (1, 0)))[:, :-1]
  ids = np.where(first, top + 1 - np.cumsum(first, 1), chunks)
  kept = ids[~hidden | first].reshape(len(chunks), -1)  # rows keep as many, by construction
  return np.pad(kept, ((0, 0), (0, 1)), constant_values=eos).astype(np.int32)


def _cut(chunks: np.ndarray, random: np.random.Generator, eos: int) -> Batch:
  """Each chunk cut in two at a random place, both parts ending in `eos` and padded to [B,C]."""
  rows, length = chunks.shape
  at, place = random.integers(1, length, (rows, 1)), np.arange(length)[None]
  source = np.where(place < at, chunks, np.where(place == at, eos, PAD))
  back = np.take_along_axis(chunks, np.minimum(place + at, length - 1), 1)
  target = np.where(place < length - at, back, np.where(place == length - at, eos, PAD))
  return {'source': source.astype(np.int32), 'target': target.astype(np.int32)}
