"""All that a run reads, checked against each other before anything is compiled."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

import compacter_jax as cj
from compacter_jax import data, evaluate, sharding, train
from compacter_jax.adapter_file import Fingerprint
from compacter_jax.data.encoding import Encoded
from compacter_jax.model import Model, abstract
from compacter_jax.placement import Placement
from compacter_jax.t5.config import Config, shapes
from compacter_jax.weights import Flat
from experiments import rows, warm_start
from experiments.schema import Job
from experiments.warm_start import Start


@dataclasses.dataclass(frozen=True)
class Inputs:
  """All that a run reads, checked against each other.

  Attributes:
    model: T5 with the method grafted on.
    frozen: all of T5's weights by path, on the mesh. base: their fingerprint.
    splits: the rows as ids, by 'train', 'validation' and 'test'. drawn: which rows they are.
    bad_rows: how many unusable rows were left out, by the file's path.
    cache_notes: why ids that were kept could not be used, or new ones not kept.
    start: what training starts from; None draws it.
    origins: where the training rows are, and which of them each training example is of.
  """

  task: data.Task
  tokenizer: data.Tokenizer
  model: Model
  frozen: Flat
  base: str
  splits: dict[str, Encoded]
  drawn: dict[str, Any]
  bad_rows: dict[str, int]
  cache_notes: list[str]
  origins: tuple[str, list[int]]
  start: Start | None = None

  def unknown(self, part: str) -> dict[str, np.ndarray]:
    """The 'sources' and the 'targets' of a part that the tokenizer lacks pieces for: int64 [k]."""
    split, unk = self.splits[part], self.tokenizer.unk_id
    return {'sources': split.sources.rows_with(unk), 'targets': split.targets.rows_with(unk)}

  def parameters(self) -> dict[str, float]:
    """How much is trained: 'trained', 'base' and 'percent'."""
    trained, base = self.model.count(), cj.t5.count(self.model.cfg)
    return {'trained': trained, 'base': base, 'percent': 100 * trained / base}


def read_inputs(job: Job) -> Inputs:
  """Reads and checks everything, cheapest first; nothing is compiled, only the cache written.

  What settings, T5's config and the devices tell comes before any row, and rows before weights.
  """
  tokenizer, model = read_model(job)
  cfg = model.cfg
  task, splits, bad_rows = rows.read(job.data)
  _, frozen, base = weights(job, cj.t5.resolve(job.model))
  start = None
  if job.start_from:
    start = warm_start.read(job.start_from, model, base, tokenizer.fingerprint)
  limits = job.data.max_source, job.data.max_target, cfg.vocab, job.data.allow_target_truncation
  cache, encoded = data.TokenCache(job.data.cache), {}
  for name, part in splits.parts().items():
    encoded[name] = cache.encode(rows.texts(job.data, part), tokenizer, *limits)
  for part in 'validation', 'test':  # a metric that is not defined for an answer says so now
    answers = encoded[part].references
    evaluate.score(task if part == 'test' else data.trained_on(task), answers, encoded[part])
  drawn = rows.told(splits)
  origins = rows.origins(job.data, splits.train)
  read = task, tokenizer, model, frozen, base, encoded, drawn, bad_rows, cache.notes, origins, start
  return Inputs(*read)


def read_model(job: Job) -> tuple[data.Tokenizer, Model]:
  """The tokenizer and the model, once all is checked that needs neither rows nor weights.

  Raises ConfigError for settings that do not fit the T5, the devices or each other, and
  WeightsError for a tokenizer or a T5's config that cannot be used.
  """
  task = rows.task(job.data)
  folder = cj.t5.resolve(job.model, weights=False)
  tokenizer = data.load_tokenizer(job.tokenizer or folder)
  data.check_answers(task, tokenizer)
  cfg = cj.t5.read_config(folder)
  method = job.method.prepare(lambda text: tokenizer.encode(text)[:-1], task.labels or ())
  model = Model(cfg, method, job.dtype, job.remat, job.unroll)
  model.specs()  # raises at once where the method does not fit this T5
  if job.start_from:
    warm_start.check(job.start_from, job.method, model)
  if job.data.batching == 'packed':
    model.check_packing()
  mesh = sharding.make_mesh(**dataclasses.asdict(job.mesh))
  train.check_batch(job.batch_size, job.accumulate, sharding.ways_of(mesh))
  Placement(mesh, model, cast(Any, abstract(cfg)))  # raises where the mesh does not divide an array
  return tokenizer, model


def weights(job: Job, folder: str | Path) -> tuple[Config, Flat, str]:
  """T5's config, its weights on the mesh, read or drawn, and their fingerprint.

  An array that is read goes to its devices before the next one comes: a T5 may be larger than any
  of them, and than the memory of the host.
  """
  dtype = None if job.weights_dtype == 'file' else job.weights_dtype
  cfg, seen = cj.t5.read_config(folder), Fingerprint()
  mesh = sharding.make_mesh(**dataclasses.asdict(job.mesh))
  lies = sharding.shardings(mesh, sharding.t5_axes(shapes(cfg)), abstract(cfg))
  if job.random_base:
    _, dtypes = cj.t5.load(folder, dtype, lambda path, array: array.dtype)
    drawn = cj.t5.random_weights(cfg, jax.random.key(job.seed), lies)
    drawn = {path: drawn[path].astype(each) for path, each in sorted(dtypes.items())}
    for path, array in drawn.items():
      seen.add(path, sharding.fetch(array))
    return cfg, drawn, str(seen)

  def place(path: str, array: np.ndarray) -> jax.Array:
    seen.add(path, array)
    if mesh.size == 1:  # on a CPU the array itself, which it would copy to a mesh
      return jax.device_put(array, mesh.devices.flat[0])
    return sharding.lay({path: array}, {path: lies[path]})[path]

  cfg, frozen = cj.t5.load(folder, dtype, place)
  return cfg, frozen, str(seen)
