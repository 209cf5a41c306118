"""Answers of a run's adapter: to the run's own rows, to those of a table, or to plain texts."""

import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

import compacter_jax as cj
from compacter_jax import adapter_file, data, evaluate, sealed, sharding, tensor_file
from compacter_jax.data import Example, unlabelled
from compacter_jax.data.encoding import Encoded
from compacter_jax.errors import ConfigError, DataError
from compacter_jax.placement import Placement
from experiments import evaluation, folders, inputs, messages, rows, schema
from experiments.generation import Generation
from experiments.schema import Job

# Settings that may be others than the run's; all else is part of what was trained.
OPEN = 'model', 'tokenizer', 'eval_batch_size', 'unroll', 'mesh', 'data'
STDIN = '-'


@dataclasses.dataclass(frozen=True)
class Asked:
  """What is to be answered: one of these.

  Attributes:
    part: of the run's rows. rows: the file of a table. texts: a file of sources, or `STDIN`.

  Raises ConfigError for none or several.
  """

  part: str | None = None
  rows: str | None = None
  texts: str | None = None

  def __post_init__(self):
    given = [f'--{name}={value}' for name, value in dataclasses.asdict(self).items() if value]
    if len(given) != 1:
      raise ConfigError(
        'It is not clear what to answer.',
        expected='one of --part, --rows and --texts',
        got=' '.join(given) or 'none of them',
      )


@dataclasses.dataclass(frozen=True)
class Questions:
  """What is answered.

  Attributes:
    numbers: of each example the row it is of, counted from 0 in its file or official split.
    labelled: whether it is known what is right. notes: what a person should know of them.
  """

  task: data.Task
  examples: list[Example]
  numbers: list[int]
  labelled: bool
  notes: list[str]


@dataclasses.dataclass(frozen=True)
class Answers:
  """What was answered.

  Attributes:
    lines: of each example 'row', 'source' and 'prediction', and 'reference' where that is known.
    scores, intervals: as a run reports them, where they can be.
  """

  lines: list[dict[str, Any]]
  notes: list[str]
  scores: dict[str, float] = dataclasses.field(default_factory=dict)
  intervals: dict[str, list[float]] = dataclasses.field(default_factory=dict)


def settings(folder: Path) -> dict[str, Any]:
  """The settings of the run in that folder.  Raises ConfigError where there is none."""
  path = folder / folders.CONFIG
  if not path.is_file():
    there = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else ['no folder']
    told = ', '.join(there[:20]) or 'an empty folder'
    raise ConfigError('There is no run here.', where=str(folder), expected=folders.CONFIG, got=told)
  return sealed.read(path)


def predict(job: Job, folder: Path, asked: Asked) -> Answers:
  """Answers what is asked, by the adapter of the run in that folder.

  job: the run's settings, with others where `OPEN` has them.

  Raises:
    ConfigError: a setting is not open, or nothing is known of the format of a table.
    DataError: rows or texts that cannot be used.
    WeightsError: there is no adapter, or it is damaged, or of another T5 or tokenizer.
  """
  _check(job, settings(folder))
  adapter = folder / folders.ADAPTER
  adapter_file.describe(adapter)  # raises before anything large is read
  asked_for, at = _questions(job, asked), cj.t5.resolve(job.model)
  tokenizer = data.load_tokenizer(job.tokenizer or at)
  split, notes = _encoded(job, asked_for, tokenizer, cj.t5.read_config(at).vocab)
  cfg, whole, base = inputs.weights(job, at)
  model, tuned = cj.load(adapter, cfg, base, tokenizer.fingerprint)
  model = dataclasses.replace(model, unroll=job.unroll)
  mesh = sharding.make_mesh(**dataclasses.asdict(job.mesh))
  placement = Placement(mesh, model, whole)
  frozen = model.trim(placement.weights(whole))
  del whole
  task, steps = asked_for.task, job.data.max_target
  if asked_for.labelled or task.labels:  # else the longest answer is not known
    steps = evaluation.longest(job, task, split, tokenizer)
  with jax.set_mesh(mesh), tqdm(total=len(split), unit='row', disable=None) as bar:

    def begun(shape: tuple[int, ...]) -> None:
      bar.update(min(shape[0], len(split) - bar.n))

    args = model, tokenizer, placement, frozen, job.eval_batch_size, begun
    predictions = Generation(*args).answers(tuned, split, steps)
  lines = [
    {'row': number, 'source': example.source, 'prediction': prediction}
    for number, example, prediction in zip(asked_for.numbers, asked_for.examples, predictions)
  ]
  if not asked_for.labelled:
    return Answers(lines, notes)
  lines = [line | {'reference': each} for line, each in zip(lines, split.references)]
  args = task, predictions, split
  return Answers(lines, notes, evaluate.score(*args), evaluate.interval(*args))


def write(answers: Answers, out: str | None) -> None:
  """A line of JSON for each example into that file, all of it or nothing, or to standard output.

  What a person is told goes to standard output, or to standard error where that has the lines.
  """
  lines = [json.dumps(line, ensure_ascii=False) + '\n' for line in answers.lines]
  if out:
    with tensor_file.atomic(Path(out)) as file:
      file.write(''.join(lines).encode())
  else:
    if isinstance(sys.stdout, io.TextIOWrapper):
      sys.stdout.reconfigure(encoding='utf-8')  # as JSON is, whatever the terminal's
    sys.stdout.writelines(lines)
  told = [f'note: {note}' for note in answers.notes]
  if answers.scores:
    told.append(messages.told(answers.scores, answers.intervals))
  if out:
    told.append(f'answers: {out} ({len(lines):,} lines)')
  for line in told:
    print(line, file=sys.stdout if out else sys.stderr)


def _check(job: Job, found: dict[str, Any]) -> None:
  """Raises ConfigError for a setting that is not open: it would change nothing."""
  given = json.loads(json.dumps(schema.as_config(job)))
  found = json.loads(json.dumps(schema.as_config(schema.job(found))))
  trained = dict(folders.flat(found))
  for name, value in folders.flat(given):
    if name.partition('.')[0] not in OPEN and trained.get(name) != value:
      raise ConfigError(
        'This setting is part of what was trained.',
        where=f'config.{name}',
        expected=repr(trained.get(name)),
        got=repr(value),
        fix=f'leave it out; what may be set is {", ".join(OPEN)}',
      )


def _questions(job: Job, asked: Asked) -> Questions:
  if asked.part:
    _, splits, left_out = rows.read(job.data)
    part = splits.parts()[asked.part]
    notes = [f'{count} unusable rows of {path} are left out' for path, count in left_out.items()]
    numbers = rows.origins(job.data, part)[1]
    return Questions(part.task, rows.texts(job.data, part), numbers, True, notes)
  task, notes = rows.task(job.data), []
  if asked.rows:
    bad = data.BadRows(job.data.max_bad_rows)
    sources = unlabelled.questions(task, Path(asked.rows), job.data.prefix, bad)
    notes = [
      f'{count} unusable rows of {path} are left out' for path, count in bad.left_out.items()
    ]
  else:
    sources = unlabelled.texts(*_text(asked.texts or ''))
  examples = [Example(source, '') for source in sources]
  return Questions(task, examples, list(range(len(examples))), False, notes)


def _text(name: str) -> tuple[bytes, str]:
  if name == STDIN:
    return sys.stdin.buffer.read(), 'standard input'
  try:
    return Path(name).read_bytes(), name
  except OSError as error:
    raise DataError('The file cannot be read.', where=name, got=str(error)) from error


def _encoded(
  job: Job, asked_for: Questions, tokenizer: data.Tokenizer, vocab: int
) -> tuple[Encoded, list[str]]:
  limits = job.data.max_source, job.data.max_target, vocab, job.data.allow_target_truncation
  split, notes = data.encode(asked_for.examples, tokenizer, *limits), list(asked_for.notes)
  if split.truncated:
    notes.append(f'{split.truncated} sources are cut to {job.data.max_source} ids')
  if lacking := len(split.sources.rows_with(tokenizer.unk_id)):
    notes.append(f'{lacking} sources have characters that the tokenizer lacks')
  return split, notes
