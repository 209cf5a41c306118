"""A task in numbers: examples, answers, lengths, what is cut, padding, steps, splits."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import compacter_jax as cj
from compacter_jax import data, train
from compacter_jax.data import BATCHINGS, Encoded, Example, Ragged, Task, Tokenizer
from experiments import batches, rows, splits
from experiments.schema import Job

SHOWN = 5  # examples
LOOKED_AT = 2_000  # steps whose padding is measured, where an epoch is longer
FEW = 0.01  # a limit is enough where it cuts a smaller share


@dataclasses.dataclass(frozen=True)
class Part:
  """Examples of a part as texts and ids.

  Attributes:
    task: what they are examples of.
    split: the ids, cut to the limits. sources, targets: ids of each text before: int64 [n].
  """

  task: Task
  examples: list[Example]
  split: Encoded
  sources: np.ndarray
  targets: np.ndarray


def inspect(job: Job) -> dict[str, Any]:
  """All that is told of the job's task, as JSON has it.  Reads the tokenizer, but no weights.

  Targets that are too long are cut and counted, though a run may refuse them. Raises what a run
  raises for the settings, rows and tokenizer.
  """
  train.check_batch(job.batch_size, job.accumulate)
  task, drawn, left_out = rows.read(job.data)
  folder = cj.t5.resolve(job.model, weights=False)
  tokenizer = data.load_tokenizer(job.tokenizer or folder)
  data.check_answers(task, tokenizer)
  cfg = cj.t5.read_config(folder)
  cache = data.TokenCache(job.data.cache)
  parts = {
    name: _part(job, part, tokenizer, cfg.vocab, cache) for name, part in drawn.parts().items()
  }
  found = splits.described(job.data, task, drawn, left_out)
  return {
    'task': task.name,
    'style': task.style,
    'tokenizer': {
      'name': '/'.join(Path(job.tokenizer or job.model).parts[-2:]),
      'ids': tokenizer.vocab_size,
      'rows_of_model': cfg.vocab,
      'sha256': tokenizer.fingerprint,
    },
    'max_source': job.data.max_source,
    'max_target': job.data.max_target,
    'seed': job.seed,
    'may_cut_targets': job.data.allow_target_truncation,
    'examples': _shown(job, drawn.train, parts['train'], tokenizer),
    'answers': {name: answers(part.task, part.split.references) for name, part in parts.items()},
    'lengths': {name: _lengths(job, part) for name, part in parts.items()},
    'padding': padding(job, parts['train'].split, cfg.d_model),
    'training': training(job, len(parts['train'].split)),
    'splits': splits.without_indices(found),
    'cache_notes': cache.notes,
  }


def _part(
  job: Job, part: data.Part, tokenizer: Tokenizer, vocab: int, cache: data.TokenCache
) -> Part:
  texts, most = rows.texts(job.data, part), (job.data.max_source, job.data.max_target)
  split = cache.encode(texts, tokenizer, *most, vocab, allow_target_truncation=True)
  sources = uncut([each.source for each in texts], split.sources, most[0], tokenizer)
  targets = uncut([each.target for each in texts], split.targets, most[1], tokenizer)
  return Part(part.task, texts, split, sources, targets)


def uncut(texts: list[str], ids: Ragged, most: int, tokenizer: Tokenizer) -> np.ndarray:
  """Ids that each text would have if it were not cut to `most`: int64 [n]."""
  lengths = ids.lengths.copy()
  full = np.flatnonzero(lengths == most)  # only these may have been cut
  again = tokenizer.encode_all([texts[i] for i in full])
  lengths[full] = [len(each) for each in again]
  return lengths


def _shown(job: Job, part: data.Part, read: Part, tokenizer: Tokenizer) -> list[dict[str, Any]]:
  """The first examples that a run would be trained on."""
  # A row may make several examples.
  whose = [i for i, row in enumerate(part.rows) for _ in data.examples(part.task, row, False)]
  order = data.train_rows(len(whose), min(SHOWN, len(whose)), job.seed, 0)
  out = []
  for example in order.tolist():
    told: dict[str, Any] = {'row': int(part.indices[whose[example]]), 'of': part.official}
    texts = (
      ('source', read.split.sources, read.sources),
      ('target', read.split.targets, read.targets),
    )
    for name, ids, lengths in texts:
      told[name] = {
        'text': getattr(read.examples[example], name),
        'ids': ids[example].tolist(),
        'pieces': tokenizer.pieces(ids[example].tolist()),
        'length': int(lengths[example]),
        'cut': bool(lengths[example] > len(ids[example])),
      }
    out.append(told)
  return out


def answers(task: Task, references: list[str]) -> dict[str, Any]:
  """How often which answer is right: every label, the spread of numbers, and the commonest."""
  counts, n = Counter(references), len(references)
  commonest, times = counts.most_common(1)[0]
  share = lambda count: {'count': count, 'percent': 100 * count / n}
  told = {'examples': n, 'different': len(counts), 'commonest': {'text': commonest, **share(times)}}
  if task.labels:
    return told | {'labels': {label: share(counts[label]) for label in task.labels}}
  if task.labels is None:
    numbers = np.array([float(text) for text in references])
    names = 'min', 'median', 'mean', 'max', 'std'
    return told | {'numbers': {name: float(getattr(np, name)(numbers)) for name in names}}
  return told


def _lengths(job: Job, part: Part) -> dict[str, Any]:
  most = job.data.max_source, job.data.max_target
  return {'source': spread(part.sources, most[0]), 'target': spread(part.targets, most[1])}


def spread(lengths: np.ndarray, most: int) -> dict[str, Any]:
  """Of lengths in ids: their spread, and what a limit of `most` cuts.

  'p95': at least 95 % are no longer. 'enough': the smallest limit that cuts less than `FEW`.
  'counts': how many there are of each length.
  """
  n, cut = len(lengths), int((lengths > most).sum())
  values, counts = np.unique(lengths, return_counts=True)
  longer = n - np.cumsum(counts)
  return {
    'min': int(values[0]),
    'median': float(np.median(lengths)),
    'mean': float(lengths.mean()),
    'p95': int(values[np.searchsorted(-longer, -0.05 * n)]),
    'max': int(values[-1]),
    'cut': cut,
    'cut_percent': 100 * cut / n,
    'enough': int(values[longer < FEW * n][0]),
    'counts': {str(value): count for value, count in zip(values.tolist(), counts.tolist())},
  }


def padding(job: Job, split: Encoded, d_model: int) -> dict[str, Any]:
  """What a step computes on, with each batching and with every text padded to the limits.

  'lines': of a step's tables. 'ids': of a step, padding included. 'useful': the share of these, in
  percent, that is no padding. 'shapes': different ones, each of which is compiled once.
  """
  steps = min(-(-len(split) // job.batch_size), batches.lengths(job, len(split))[0], LOOKED_AT)
  widest = split.max_source + split.target_width
  full = float(split.sources.lengths.mean() + split.targets.lengths.mean())
  fixed = {'useful': 100 * full / widest, 'shapes': 1, 'lines': job.batch_size}
  told: dict[str, Any] = {'fixed': fixed | {'ids': float(job.batch_size * widest)}}
  for kind in BATCHINGS:
    asked = dataclasses.replace(job.data, batching=kind)
    planned = batches.training(dataclasses.replace(job, data=asked), split, d_model)
    shapes = Counter(planned.shape(step) for step in range(steps))
    columns = sum(sum(shape) * count for shape, count in shapes.items())
    told[kind] = {
      'useful': 100 * planned.useful(steps),
      'shapes': len(shapes),
      'lines': planned.height,
      'ids': planned.height * columns / steps,
    }
  return {'steps': steps, 'batch_size': job.batch_size, 'chosen': job.data.batching, 'of': told}


def training(job: Job, n: int) -> dict[str, Any]:
  """How many steps a run would take over n examples."""
  total, every = batches.lengths(job, n)
  epochs = total * job.batch_size / n
  epoch = n / job.batch_size
  return {'steps_per_epoch': epoch, 'steps': total, 'epochs': epochs, 'eval_every': every}
