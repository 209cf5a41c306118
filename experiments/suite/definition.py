"""What a suite consists of."""

import dataclasses
from typing import Any

from compacter_jax.errors import ConfigError
from compacter_jax.settings import build, choose, within
from experiments.configs import HERE, config_files


@dataclasses.dataclass(frozen=True)
class LowResource:
  """Runs on few training rows.

  Attributes:
    methods, tasks: which of the suite's.
    rows: how many training rows; each is a run for each seed.
    steps: of every run, however few its rows.
    redraw: whether each seed draws rows of its own, so that deviations hold what that changes; as
      published all have the same.
  """

  methods: tuple[str, ...]
  tasks: tuple[str, ...]
  rows: tuple[int, ...]
  steps: int
  redraw: bool = False

  def __post_init__(self):
    within('low_resource.steps', self.steps, 1)
    for rows in self.rows:
      within('low_resource.rows', rows, 1)


@dataclasses.dataclass(frozen=True)
class RandomBase:
  """Runs on frozen weights that are drawn at random, to tell what pretraining is worth.

  Attributes:
    methods, tasks: which of the suite's; rates are searched anew for each pair.
  """

  methods: tuple[str, ...]
  tasks: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Suite:
  """Methods x tasks x seeds.

  Attributes:
    name, model: of the suite, and of the T5 that all runs begin with.
    methods: title by the name of a config in `experiments/configs`, in the order of the table.
    tasks: for each its changes to every config, by dotted name.
    settings: changes to every config.
    method_settings: changes to the config of one method, by its name.
    seeds: of the runs that count.
    rates: tried for each method on `search_tasks` with the first seed; the one with the best mean
      of the averages on validation rows is taken. None at all takes that of each config.
    options: for a method, dotted names and the values tried for them, picked for each task on its
      validation rows with the first seed.
    low_resource: runs on few rows, or None.
    random_base: runs on random weights, or None.
    train_rows: how many training rows a task has; for estimates only.
    fitted: whether methods are fitted to a small T5 (`comparison.fitted`).
    timed: ids of the sources of the training step whose time and memory are measured.
  """

  name: str
  model: str
  methods: dict
  tasks: dict
  settings: dict
  seeds: tuple[int, ...]
  rates: tuple[float, ...] = ()
  search_tasks: tuple[str, ...] = ()
  method_settings: dict = dataclasses.field(default_factory=dict)
  options: dict = dataclasses.field(default_factory=dict)
  low_resource: dict | LowResource | None = None
  random_base: dict | RandomBase | None = None
  train_rows: dict = dataclasses.field(default_factory=dict)
  fitted: bool = False
  timed: int = 128

  def __post_init__(self):
    within('timed', self.timed, 1)
    known = [path.stem for path in config_files()]
    for name in self.methods:
      choose('method of the suite', name, known)
    if isinstance(self.low_resource, dict):
      few = build(LowResource, self.low_resource, 'low_resource')
      object.__setattr__(self, 'low_resource', few)
    if isinstance(self.random_base, dict):
      random = build(RandomBase, self.random_base, 'random_base')
      object.__setattr__(self, 'random_base', random)
    used = [
      ('search_tasks', self.search_tasks, self.tasks),
      ('method_settings', self.method_settings, self.methods),
      ('options', self.options, self.methods),
    ]
    if few := self.few:
      used += [('low_resource.tasks', few.tasks, self.tasks)]
      used += [('low_resource.methods', few.methods, self.methods)]
    if random := self.random:
      used += [('random_base.tasks', random.tasks, self.tasks)]
      used += [('random_base.methods', random.methods, self.methods)]
    for field, names, of in used:
      for name in names:
        choose(field, name, of)
    for field, values in ('seeds', self.seeds), ('methods', self.methods), ('tasks', self.tasks):
      if not values:
        raise ConfigError('A suite needs at least one.', where=field, got='none')
    if bool(self.rates) != bool(self.search_tasks):
      raise ConfigError(
        'Rates are tried on tasks.',
        where='rates, search_tasks',
        expected='both or neither',
        got=f'{self.rates}, {self.search_tasks}',
      )

  @property
  def few(self) -> LowResource | None:
    """The runs on few rows."""
    return self.low_resource if isinstance(self.low_resource, LowResource) else None

  @property
  def random(self) -> RandomBase | None:
    """The runs on random weights."""
    return self.random_base if isinstance(self.random_base, RandomBase) else None

  def config(self, method: str) -> dict[str, Any]:
    """The settings of a method's config with the suite's own changes, as plain dicts."""
    from experiments.configs import read_config

    return read_config(HERE / f'{method}.py').to_dict()
