"""A step that is not finite: never applied, told with its examples, stopped at or left out."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax import nonfinite, t5, tensor_file, train
from compacter_jax.errors import ConfigError, NumericsError, PreemptedError
from experiments import finetune, rows, schema
from experiments.batches import training
from experiments.configs import HERE, read_config
from experiments.inputs import read_inputs
from experiments.preemption import Preemption
from tests.conftest import save_small
from tests.test_resume import assert_same, job, notes

pytestmark = pytest.mark.usefixtures('standard_promotion', 'checkpoints_stay')


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  """A small T5 whose head reads no embedding, so that a bad one harms the rows that have it."""
  sizes = {'d_model': 32, 'd_kv': 8, 'd_ff': 16, 'heads': 2, 'tied_head': False}
  cfg = t5.Config(vocab=8_192, encoder_layers=1, decoder_layers=1, dropout=0.1, **sizes)
  return save_small(tmp_path_factory.mktemp('base'), cfg)


@pytest.fixture(scope='module')
def poisoned(base):
  """Inputs of which one training row reads a weight that is no number; that row."""
  inputs = read_inputs(job(base))
  sources = inputs.splits['train'].sources
  ids = [set(sources.ids[a:b].tolist()) for a, b in zip(sources.offsets, sources.offsets[1:])]
  row, word = next(
    (i, word)
    for i, own in enumerate(ids)
    for word in sorted(own)
    if sum(word in other for other in ids) == 1
  )
  weight = inputs.frozen['token_embedding'].at[word].set(jnp.nan)
  frozen = dict(inputs.frozen) | {'token_embedding': weight}
  return dataclasses.replace(inputs, frozen=frozen), row


@pytest.fixture(scope='module')
def bad_steps(base, poisoned):
  """The steps, from 1, of which that row is part."""
  inputs, row = poisoned
  batches = training(job(base), inputs.splits['train'], 32)
  return [step + 1 for step in range(11) if row in batches.rows(step)]


@pytest.fixture(scope='module')
def whole(base, poisoned, tmp_path_factory, checkpoints_stay):
  """The folder of a run that left such steps out and that nothing interrupted."""
  out = tmp_path_factory.mktemp('whole') / 'w'
  with jax.numpy_dtype_promotion('standard'):
    finetune.run(job(base, nonfinite='9'), poisoned[0], out, quiet=True)
  return out


def test_the_run_stops_at_the_first_and_names_its_examples(base, poisoned, bad_steps, tmp_path):
  inputs, row = poisoned
  with pytest.raises(NumericsError) as caught:
    finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  told, (source, numbers) = caught.value, inputs.origins
  batch = training(job(base), inputs.splits['train'], 32).rows(bad_steps[0] - 1)
  assert told.where == f'step {bad_steps[0]}' and told.exit_code == 5
  assert f'rows {", ".join(str(numbers[i]) for i in batch)} of {source}' in told.got
  assert str(numbers[row]) in told.got and source == 'quickstart train'
  assert 'loss nan' in told.got and "first in that of .site['" in told.got
  assert 'nonfinite=N' in told.fix


def test_such_steps_are_left_out_noted_and_counted(poisoned, bad_steps, whole):
  inputs, row = poisoned
  noted = {note['step']: note['nonfinite'] for note in notes(whole) if 'nonfinite' in note}
  assert list(noted) == bad_steps and len(bad_steps) > 2
  for told in noted.values():
    assert set(told) == {'loss', 'grad_norm', 'leaf', 'rows', 'source'}
    assert inputs.origins[1][row] in told['rows'] and told['loss'] == 'nan'
  assert json.loads((whole / 'results.json').read_text())['skipped_steps'] == len(bad_steps)
  for array in tensor_file.read(whole / 'adapter/adapter.safetensors').values():
    assert np.isfinite(array).all()
  assert all(np.isfinite(note['loss']) for note in notes(whole) if 'loss' in note)


def test_beyond_the_number_that_is_allowed_it_stops(base, poisoned, bad_steps, tmp_path):
  allowed = len(bad_steps) - 1
  with pytest.raises(NumericsError, match=f'{allowed} such steps before it') as caught:
    finetune.run(job(base, nonfinite=str(allowed)), poisoned[0], tmp_path / 'w', quiet=True)
  assert caught.value.where == f'step {bad_steps[-1]}'


@pytest.mark.parametrize('at', [2, 3, 5, 8, 10])
def test_leaving_out_is_exact_over_interruptions(at, base, poisoned, whole, tmp_path, monkeypatch):
  settings = job(base, nonfinite='9')
  with monkeypatch.context() as patch:
    patch.setattr(Preemption, '__call__', lambda self, step: step == at)
    with pytest.raises(PreemptedError):
      finetune.run(settings, poisoned[0], tmp_path / 'w', quiet=True)
  results = finetune.run(settings, poisoned[0], tmp_path / 'w', quiet=True)
  assert_same(tmp_path / 'w', whole)
  told = json.loads((whole / 'results.json').read_text())
  assert results['skipped_steps'] == told['skipped_steps']


def test_the_count_goes_on_after_an_interruption(base, poisoned, bad_steps, tmp_path, monkeypatch):
  """Those before it count too."""
  settings = job(base, nonfinite=str(len(bad_steps) - 1))
  with monkeypatch.context() as patch:
    patch.setattr(Preemption, '__call__', lambda self, step: step == bad_steps[-1] - 1)
    with pytest.raises(PreemptedError):
      finetune.run(settings, poisoned[0], tmp_path / 'w', quiet=True)
  for _ in range(2):
    with pytest.raises(NumericsError) as caught:
      finetune.run(settings, poisoned[0], tmp_path / 'w', quiet=True)
    assert caught.value.where == f'step {bad_steps[-1]}'


def test_a_run_that_stopped_goes_on_once_it_may(base, poisoned, whole, tmp_path):
  with pytest.raises(NumericsError):
    finetune.run(job(base), poisoned[0], tmp_path / 'w', quiet=True)
  finetune.run(job(base, nonfinite='9'), poisoned[0], tmp_path / 'w', quiet=True)
  assert_same(tmp_path / 'w', whole)


def test_it_is_the_same_on_two_devices(base, poisoned, bad_steps, whole, tmp_path):
  settings = job(base, **{'nonfinite': '9', 'mesh.devices': 2})
  assert settings.accumulate == 2
  finetune.run(settings, poisoned[0], tmp_path / 'w', quiet=True)
  for one, two in zip(notes(tmp_path / 'w'), notes(whole), strict=True):
    assert one['step'] == two['step'] and one.get('nonfinite') == two.get('nonfinite')
    if 'loss' in one:
      np.testing.assert_allclose(one['loss'], two['loss'], rtol=1e-5)


def step(bad):
  """A step that is not finite where `bad` says so."""

  def taken(state, frozen, batch):
    i, ok = int(batch['source'][0, 0]), int(batch['source'][0, 0]) not in bad
    loss = jnp.float32(i if ok else jnp.inf)
    squares = jnp.array([1.0, 1.0 if ok else jnp.nan])
    return state, {'loss': loss, 'grad_norm': loss, 'finite': ok, 'squares': squares}

  return taken


def loop(bad, policy, report, pending=(), first=1):
  batches = ({'source': np.full((2, 1), i)} for i in range(first, 99))
  taken = train.Loop(step(bad), {}, batches, 9, report, 3, pending=pending, policy=policy)
  state = train.State({'a': jnp.ones(2), 'b': jnp.ones(2)}, (), jnp.int32(0), jnp.uint32(0))
  return taken, state


def test_the_mean_of_a_group_is_that_of_its_finite_steps():
  """Groups are steps 1 to 2, 3 to 5 and 6 to 9; of the second none is left."""
  skipped, reports, policy = [], [], nonfinite.Policy(5)
  policy.note = lambda bad, examples: skipped.append((bad.step, bad.leaf, bad.loss))
  taken, state = loop({2, 3, 4, 5, 7}, policy, reports.append)
  taken.run(state, 0, 9)
  assert [(each.step, each.loss) for each in reports] == [(2, 1.0), (9, (6 + 8 + 9) / 3)]
  assert skipped == [(i, "['b']", 'inf') for i in (2, 3, 4, 5, 7)] and policy.skipped == 5


def test_what_waits_is_kept_as_json_and_goes_on():
  policy = nonfinite.Policy(2)
  taken, state = loop({1, 4}, policy, lambda progress: None)
  taken.run(state, 0, 4)
  pending = json.loads(json.dumps(taken.pending()))
  assert pending == [[3, 2, 3.0, 3.0], [4, 2, 'inf', 'inf', "['b']"]]
  skipped, again = [], nonfinite.Policy(2)
  again.skipped = policy.skipped
  again.note = lambda bad, examples: skipped.append(bad.step)
  taken, state = loop({6}, again, lambda progress: None, pending, first=5)
  with pytest.raises(NumericsError, match='step 6'):
    taken.run(state, 4, 9)
  assert skipped == [4]


def test_a_loss_that_alone_is_not_finite_is_told():
  metrics = {'loss': np.float32('inf'), 'grad_norm': np.float32(1), 'squares': np.ones(2)}
  bad = nonfinite.found(3, metrics, ['a', 'b'])
  assert bad.leaf == ''
  with pytest.raises(NumericsError, match='of the loss alone'):
    nonfinite.Policy().check([bad])


def test_a_run_may_go_on_with_fewer_allowed():
  policy = nonfinite.Policy(1)
  policy.skipped = 3  # when more were
  policy.check([])
  with pytest.raises(NumericsError, match='3 such steps before it'):
    policy.check([nonfinite.NonFinite(9, 'nan', 'nan', '')])


def test_many_examples_are_cut_short():
  bad = nonfinite.NonFinite(1, 'nan', 'nan', 'a')
  policy = nonfinite.Policy(0, lambda step: {'source': 'x.tsv', 'rows': list(range(100))})
  with pytest.raises(NumericsError, match=r'18, 19 and 80 more of x\.tsv'):
    policy.check([bad])


@pytest.mark.parametrize(('given', 'skips'), [('stop', 0), ('0', 0), ('7', 7)])
def test_the_setting_is_a_word_or_a_number(base, given, skips):
  settings = job(base, nonfinite=given)
  assert settings.skips == skips
  assert schema.job(schema.as_config(settings)) == settings


@pytest.mark.parametrize('given', ['go', '-1', '1.5', '', -1, True])
def test_another_policy_is_refused(base, given):
  with pytest.raises(ConfigError, match='nonfinite'):
    schema.job(schema.as_config(job(base)) | {'nonfinite': given})


def test_examples_are_traced_to_the_rows_of_their_file(tmp_path):
  lines = [f'row {i}\t{i % 2}' for i in range(1_020)]
  (tmp_path / 'train.tsv').write_text('\n'.join(['sentence\tlabel', *lines, '']))
  (tmp_path / 'dev.tsv').write_text('sentence\tlabel\nfine\t1\nbad\t0\n')
  config = read_config(HERE / 'compacter.py').to_dict()['data']
  settings = schema.Data(**config | {'task': 'sst2', 'dir': str(tmp_path), 'source': 'files'})
  _, splits, _ = rows.read(settings)
  source, numbers = rows.origins(settings, splits.train)
  assert source == str(tmp_path / 'train.tsv')
  texts = rows.texts(settings, splits.train)
  assert len(texts) == len(numbers) > 10
  for text, number in zip(texts, numbers):
    assert text.source.endswith(lines[number].partition('\t')[0])
