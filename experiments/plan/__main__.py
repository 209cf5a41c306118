r"""What a run takes before a machine is rented: memory, time and mesh, compiled for chips afar.

    python -m experiments.plan --config=experiments/configs/compacter.py \
        --config.model=t5-base --topology=v5e:4x4 --search

Compiles the training step and the decoding step that `experiments.run` would run with these
settings, ahead of time, for --topology: a TPU slice (v4, v5e, v5p, v6e; by libtpu's own compiler,
which needs no TPU), `cpu:8` or `gpu`. No weights are read: the model is a published size by name,
or a folder with a config.json. Prints what each chip holds, computes and sends, and how long that
takes at least: the floor is the largest of three walls, and no machine reaches it.
--search tries every mesh of the devices (data x fsdp x tensor). --nolargest spares the search for
the largest batch. --target is the number of ids of an answer; by default config.data.max_target.
--format is text, markdown or json.
"""

import json
import sys
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from compacter_jax.errors import ConfigError
from compacter_jax.settings import within
from experiments.commandline import start

TOPOLOGY = flags.DEFINE_string('topology', None, 'The devices: v5e:4x4, cpu:8, gpu.')
SEARCH = flags.DEFINE_bool('search', False, 'Whether to try every mesh.')
LARGEST = flags.DEFINE_bool('largest', True, 'Whether to look for the largest batch.')
TARGET = flags.DEFINE_integer('target', 0, 'Ids of an answer; 0 is config.data.max_target.')
FORMAT = flags.DEFINE_enum('format', 'text', ('text', 'markdown', 'json'), 'Of what is printed.')


def main(job: Any, workdir: str | None) -> None:
  """Prints the plan."""
  if not TOPOLOGY.value:
    raise ConfigError('--topology is missing.', fix='--topology=v5e:4x4, cpu:8 or gpu')
  within('target', TARGET.value, 0)
  from experiments.plan import topology

  found = topology.find(TOPOLOGY.value)  # before JAX is used
  from experiments.plan import planning

  wanted = planning.Wanted(
    target=TARGET.value or job.data.max_target, largest=LARGEST.value, search=SEARCH.value
  )
  plan = planning.plan(job, found, wanted, lambda text: print(text, file=sys.stderr, flush=True))
  config = Path(config_flags.get_config_filename(flags.FLAGS['config'])).stem
  form = FORMAT.value
  print(json.dumps(plan.as_json(), indent=1) if form == 'json' else plan.text(config, form))


if __name__ == '__main__':
  start(main, __doc__, writes=False)
