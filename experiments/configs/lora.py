"""LoRA (Hu et al. 2022) on queries and values, rank 8: 884,736 parameters on T5-base.

python -m experiments.run --config=experiments/configs/lora.py --config.data.dir=DIR
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('lora')
  config.optim.rate = 1e-3
  return config
