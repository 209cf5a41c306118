"""What a run tells a person."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from experiments.inputs import Inputs
from experiments.schema import Job

SHOWN = 60  # characters of a text


def announce(job: Job, inputs: Inputs, total: int, useful: float) -> str:
  """What is about to be trained, and what a user may not expect of it."""
  counts = inputs.parameters()
  sizes = ', '.join(f'{len(split):,} {part}' for part, split in inputs.splits.items())
  lines = [
    f'{inputs.task.name}: {sizes} rows; {total} steps of {job.batch_size}, '
    f'{job.data.batching}: {useful:.0%} of the ids are no padding',
    f'{counts["trained"]:,} of {counts["base"]:,} parameters are trained '
    f'({counts["percent"]:.3f} %), {job.optim.optimizer} at {job.optim.rate:g}',
  ]
  if job.start_from:
    lines.append(f'training starts from {job.start_from}')
  if job.optim.warmup >= total:
    lines.append(
      f'note: a warmup of {job.optim.warmup} steps is no shorter than the run ({total}): '
      f'the rate never reaches {job.optim.rate:g}'
    )
  if job.batch_size > (few := len(inputs.splits['train'])):
    lines.append(
      f'note: a batch of {job.batch_size} is more than the {few} training rows: it repeats some'
    )
  for path, count in inputs.bad_rows.items():
    lines.append(f'note: {count} unusable rows of {path} are left out')
  twice = inputs.drawn['duplicates']['train, test']
  if twice['same'] + twice['other']:
    told = f'{twice["same"]} test rows are training rows too'
    lines.append(f'note: {told}, {twice["other"]} with another answer')
  for part, split in inputs.splits.items():
    if split.truncated:
      lines.append(f'note: {split.truncated} {part} sources are cut to {job.data.max_source} ids')
    if cut := split.truncated_targets:
      lines.append(f'note: {cut} {part} targets are cut to {job.data.max_target} ids')
    for texts, each in inputs.unknown(part).items():
      if len(each):
        lines.append(f'note: {len(each)} {part} {texts} have characters that the tokenizer lacks')
        if texts == 'targets':
          lines[-1] += f' and so cannot be written, as {split.references[each[0]][:SHOWN]!a}'
  lines += [f'note: {note}' for note in inputs.cache_notes]
  return '\n'.join(lines)


def told(
  scores: dict[str, float], intervals: Mapping[str, Sequence[float]] = MappingProxyType({})
) -> str:
  """Scores in one line, each with its interval where there is one: accuracy 71.2 [66.8, 75.5]."""

  def one(name: str, score: float) -> str:
    if name in intervals:
      low, high = intervals[name]
      return f'{name} {score:.1f} [{low:.1f}, {high:.1f}]'
    return f'{name} {score:.0f}' if name == 'invalid' else f'{name} {score:.2f}'

  return ', '.join(one(name, score) for name, score in scores.items())
