"""What is compared between the processes of a run."""

import dataclasses

import pytest

from compacter_jax.checkpoints import processes
from compacter_jax.errors import PeerError
from experiments import agreement, schema
from experiments.inputs import read_inputs
from experiments.soak.runs import save_base
from tests.runs import job


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  return save_base(tmp_path_factory.mktemp('base'))


@pytest.fixture(scope='module')
def inputs(base):
  return read_inputs(job(base))


def check(job, inputs):
  agreement.check(schema.as_config(job), schema.LOCAL, agreement.identity(job, inputs))


@pytest.fixture
def other(monkeypatch, base, inputs):
  """Compares this process with one that has another job, other inputs or code."""

  def told(job, inputs, code):
    with monkeypatch.context() as patch:
      said = []
      patch.setattr(processes, 'several', lambda: True)
      patch.setattr(processes, 'all_say', lambda mine: said.append(mine) or [mine])
      patch.setattr(agreement, 'code', lambda: code)
      check(job, inputs)
      return said[0]

  def compare(job_=None, inputs_=inputs, code='same'):
    both = [told(job(base), inputs, 'same'), told(job_ or job(base), inputs_, code)]
    monkeypatch.setattr(processes, 'several', lambda: True)
    monkeypatch.setattr(processes, 'all_say', lambda mine: both)
    check(job(base), inputs)

  return compare


def test_equal_ones_agree(other):
  other()


def test_what_differs_is_named_with_the_processes(other, base, inputs):
  rows = dataclasses.replace(inputs, splits=inputs.splits | {'test': inputs.splits['train']})
  cases = {
    'config.optim.rate': {'job_': job(base, **{'optim.rate': 0.5})},
    'config.mesh.data': {'job_': job(base, **{'mesh.data': 2})},
    'answers, test rows': {'inputs_': rows},
    'base': {'inputs_': dataclasses.replace(inputs, base='another')},
    'code': {'code': 'another'},
  }
  for field, changes in cases.items():
    with pytest.raises(PeerError, match='not about to do the same') as caught:
      other(**changes)
    assert caught.value.where == field
    assert caught.value.exit_code == 8
    for each in field.split(', '):
      assert f'{each}: process 0 (' in caught.value.got
    assert '; process 1 (' in caught.value.got


def test_what_hosts_may_have_of_their_own(other, base):
  other(job_=job(base, **{'data.cache': 'elsewhere', 'data.dir': 'here', 'tokenizer': 'there'}))


def test_many_processes_are_grouped():
  told = [{'a': 1, 'b': 2}, {'a': 1, 'b': 3}, {'a': 1, 'b': 2}, {'a': 1}]
  assert agreement.differences(told) == {'b': {'2': [0, 2], '3': [1], 'null': [3]}}


def test_settings_of_hosts_are_free():
  assert set(schema.LOCAL) <= set(schema.FREE)
