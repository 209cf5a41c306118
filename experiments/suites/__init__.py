"""One file per suite of runs; each is a function `get_suite` that returns plain settings."""

import importlib.util
from pathlib import Path

from compacter_jax import settings
from experiments.suite.definition import Suite

HERE = Path(__file__).parent

# The rows of the paper's tables (Karimi Mahabadi et al. 2021), in its order.
PAPER_ROWS = {
  'full': 'full fine-tuning',
  'adapter': 'Adapter',
  'pfeiffer': 'Pfeiffer adapter',
  'adapterdrop': 'AdapterDrop',
  'low_rank_adapter': 'Adapter-LowRank',
  'prompt': 'prompt tuning, random',
  'prompt_vocabulary': 'prompt tuning, vocabulary',
  'intrinsic_said': 'Intrinsic-SAID',
  'bitfit': 'BitFit',
  'phm_adapter': 'PHM-Adapter',
  'compacter': 'Compacter',
  'compacter_pp': 'Compacter++',
}


def suite_names() -> list[str]:
  """Every suite that is defined here."""
  return sorted(path.stem for path in HERE.glob('*.py') if path.stem != '__init__')


def read_suite(name: str) -> Suite:
  """The suite of that name.  Raises ConfigError if there is none, or if it cannot be."""
  settings.choose('suite', name, suite_names())
  module = importlib.import_module(f'experiments.suites.{name}')
  return settings.build(Suite, {'name': name} | module.get_suite(), name)
