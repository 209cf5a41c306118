"""VeRA (Kopiczko et al. 2024), rank 256: 73,728 parameters on T5-base (0.033 %).

On queries and values as in the authors' runs. They report none on T5: the rate is ours, ten times
that of lora.py.

python -m experiments.run --config=experiments/configs/vera.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('vera')
  config.optim.rate = 1e-2
  return config
