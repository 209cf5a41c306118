"""Small texts to pretrain on."""

import random
from pathlib import Path


def paragraphs(count: int, seed: int = 0) -> list[str]:
  """Sentences of a made language: few words are frequent, and each calls for the next."""
  draw = random.Random(seed)
  syllables = [a + b for a in 'bdfgklmnprstvz' for b in 'aeiou']
  words = [''.join(random.Random(i).choices(syllables, k=1 + i % 3)) for i in range(120)]
  out = []
  for _ in range(count):
    at, told = draw.randrange(12), []
    for _ in range(30):
      told.append(words[at])
      at = (5 * at + draw.randrange(3)) % len(words)
    out.append(f'{" ".join(told)} {draw.randrange(10)}.')
  return out


def write(folder: Path, train: int = 60, dev: int = 13) -> Path:
  """part-0.txt and part-1.txt to train on, part-dev.txt to measure the loss on."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, count, seed in (('0', train, 1), ('1', train, 2), ('dev', dev, 3)):
    (folder / f'part-{name}.txt').write_text('\n\n'.join(paragraphs(count, seed)))
  return folder
