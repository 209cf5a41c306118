"""What a linear reader finds in a frozen encoder: what pretraining is worth before any training.

    python -m experiments.benchmarks.probe --data.dir=DIR
    python -m experiments.benchmarks.probe --model=DIR_OR_NAME --task=cola --data.dir=DIR

Logistic regressions on means over each source's positions, of the embeddings and of the encoder's
output, with the pretrained weights and with weights drawn at random. A Markdown table gives their
accuracy on validation rows and on test rows in percent.
"""

import argparse
import dataclasses
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from compacter_jax.data.encoding import Encoded
from compacter_jax.graft import Graft
from compacter_jax.t5.config import Config
from compacter_jax.t5.network import T5
from compacter_jax.weights import Flat
from experiments import schema
from experiments.configs import HERE, read_config
from experiments.guard import guarded
from experiments.inputs import read_inputs

BATCH = 256


def main(argv: list[str]) -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--model', default='nano', help='as in --config.model')
  parser.add_argument('--task', default='sst2', help='one whose answers are labels')
  parser.add_argument('--data.dir', dest='data_dir', default='', help='the folder of the rows')
  parser.add_argument('--rows', type=int, default=20_000, help='training rows')
  parser.add_argument('--max_source', type=int, default=48, help='longest source in ids')
  flags = parser.parse_args(argv)

  settings = read_config(HERE / 'compacter.py').to_dict() | {'model': flags.model}
  rows = {'task': flags.task, 'dir': flags.data_dir, 'max_train': flags.rows}
  settings['data'] |= rows | {'max_validation': 500, 'max_source': flags.max_source}
  job = schema.job(settings)
  lines = ['| weights | mean of | validation | test |', '| --- | --- | ---: | ---: |']
  for name in 'pretrained', 'random':
    inputs = read_inputs(dataclasses.replace(job, random_base=name == 'random'))
    splits = inputs.splits
    found = {p: features(inputs.model.cfg, inputs.frozen, s) for p, s in splits.items()}
    for kind in 'embeddings', 'encoder':
      reader = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
      reader.fit(found['train'][kind], splits['train'].references)
      score = lambda p, kind=kind, reader=reader, found=found, splits=splits: (
        100 * reader.score(found[p][kind], splits[p].references)
      )
      lines.append(f'| {name} | {kind} | {score("validation"):.1f} | {score("test"):.1f} |')
  print('\n'.join(lines))


def features(cfg: Config, frozen: Flat, split: Encoded) -> dict[str, np.ndarray]:
  """Means over the positions of each source: 'embeddings' and 'encoder', each [rows, D]."""
  params = {'params': traverse_util.unflatten_dict(frozen, sep='/')}
  apply: Any = T5(cfg).apply

  @jax.jit
  def means(source):
    memory, mask = apply(params, source, Graft(), method='encode')
    mean = lambda x: (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return {'embeddings': mean(frozen['token_embedding'][source]), 'encoder': mean(memory)}

  width = int(split.sources.lengths.max())
  ids = np.full((len(split) + -len(split) % BATCH, width), cfg.pad_id, np.int32)
  for row, source in zip(ids, split.sources, strict=False):
    row[: len(source)] = source
  ids[len(split) :, 0] = 1  # rows that only fill the last batch
  parts = [means(jnp.array(ids[i : i + BATCH])) for i in range(0, len(ids), BATCH)]
  return jax.tree.map(lambda *part: np.concatenate(part)[: len(split)], *parts)


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
