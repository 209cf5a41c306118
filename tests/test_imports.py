"""Every module can be imported, and the package alone is light."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import compacter_jax
import experiments

HEAVY = (
  'flax',
  'optax',
  'orbax',
  'sklearn',
  'scipy',
  'tensorflow',
  'tensorflow_datasets',
  'torch',
  'transformers',
  'huggingface_hub',
)


def modules(package):
  yield package.__name__
  for module in pkgutil.walk_packages(package.__path__, f'{package.__name__}.'):
    yield module.name


@pytest.mark.parametrize('name', [*modules(compacter_jax), *modules(experiments)])
def test_every_module_can_be_imported(name):
  # Benchmarks compare with libraries that need not be here: they import those when run.
  importlib.import_module(name)


@pytest.mark.parametrize('name', compacter_jax.__all__)
def test_what_the_package_names_is_there(name):
  assert getattr(compacter_jax, name) is not None
  assert name in dir(compacter_jax)


def test_an_unknown_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match='compactor'):
    compacter_jax.compactor  # noqa: B018


def fresh(code):
  run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  return run.stdout.strip()


def test_the_package_alone_is_light():
  code = f'import compacter_jax, sys; print([m for m in {HEAVY} if m in sys.modules])'
  assert fresh(code) == '[]'


def test_names_are_loaded_when_used_and_then_kept():
  """Whichever is used first: a module of the same name must not hide it."""
  names = [*compacter_jax.__all__]
  code = (
    'import compacter_jax as c\n'
    f'first = {{n: getattr(c, n) for n in {names}}}\n'
    'import compacter_jax.data, compacter_jax.methods, compacter_jax.t5, compacter_jax.model\n'
    'print(all(getattr(c, n) is v for n, v in first.items()), type(c.chain).__name__)'
  )
  assert fresh(code) == 'True type'
