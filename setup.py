"""Packaging; the tools' settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (HERE / 'compacter_jax/__init__.py').read_text())
REQUIREMENTS = [
  line
  for line in (HERE / 'requirements.txt').read_text().splitlines()
  if line and not line.startswith('#')
]
JAX_CUDA = [
  'jax[cuda12]>=0.10.2,<0.11; python_version < "3.12"',
  'jax[cuda12]>=0.11.1,<0.13; python_version >= "3.12"',
]

GENERATION = ['rouge-score>=0.1.2', 'sacrebleu>=2.4']
PARQUET = ['pyarrow>=17']

setup(
  name='compacter_jax',
  version=VERSION[1],
  description='Compacter and other parameter-efficient fine-tuning of T5, in JAX.',
  long_description=(HERE / 'README.md').read_text(),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  license_files=['LICENSE'],
  python_requires='>=3.11',
  packages=find_packages(include=['compacter_jax', 'compacter_jax.*']),
  package_data={'compacter_jax': ['assets/*/*', 'py.typed']},
  install_requires=REQUIREMENTS,
  extras_require={
    'cuda': JAX_CUDA,
    'tpu': [line.replace('cuda12', 'tpu') for line in JAX_CUDA],
    # ROUGE-L and BLEU, and Parquet files, of a task of one's own.
    'generation': GENERATION,
    'parquet': PARQUET,
    'test': [
      *GENERATION,
      *PARQUET,
      'chex>=0.1.90',
      'hypothesis>=6.100',
      'psutil>=5.9',
      'pyright[nodejs]==1.1.414',
      'pytest>=8.2',
      'pytest-xdist>=3.6',
      'ruff==0.17.6',
      'safetensors>=0.5',
    ],
    'parity': ['adapters==1.3.0', 'peft>=0.21.2,<0.22', 'torch>=2.6'],
    'docs': ['mkdocs-material>=9.5'],
  },
)
