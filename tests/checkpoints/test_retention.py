"""The last and the best steps stay, and nothing goes before what comes after it is right."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compacter_jax.checkpoints import layout, store, verify, verifying
from compacter_jax.checkpoints.retention import kept
from compacter_jax.errors import StorageError, WeightsError
from tests.checkpoints.states import bits, names, opened, restored, save, state

NAN = float('nan')


@pytest.mark.parametrize(
  ('scores', 'last', 'best', 'stay'),
  [
    ([0.5, NAN, 0.8, NAN, 0.2], 1, 1, {3, 5}),
    ([0.5, 0.9, 0.8, 0.1, 0.2], 2, 1, {2, 4, 5}),
    ([0.5, 0.9, 0.8, 0.1, 0.2], 1, 3, {1, 2, 3, 5}),
    ([NAN, None, math.inf, -math.inf], 1, 2, {4}),
    ([NAN, None, 0.1, math.inf], 1, 1, {3, 4}),
    ([0.7, 0.7, 0.7, 0.1], 1, 1, {1, 4}),
    ([0.1, 0.2, 0.3], 2, 0, {2, 3}),
    ([-0.3, -0.2, -0.5], 1, 1, {2, 3}),
    ([0, -1], 1, 1, {1, 2}),
  ],
)
def test_the_last_and_the_best_stay(tmp_path, scores, last, best, stay):
  save(tmp_path, dict(enumerate(scores, 1)), keep_last=last, keep_best=best)
  assert names(tmp_path) == {str(step) for step in stay}
  assert all(not finding.reason for finding in verify(tmp_path))
  assert restored(tmp_path).step == len(scores)


scores_ = st.dictionaries(st.integers(0, 50), st.none() | st.floats(-1, 1), min_size=1)


@given(scores_, st.integers(1, 4), st.integers(0, 4))
def test_they_are_counted_independently(scores, last, best):
  stay = kept(scores, last, best)
  assert max(scores) in stay
  assert stay >= set(sorted(scores)[-last:])
  ranked = [scores[step] for step in stay if scores[step] is not None]
  gone = [scores[step] for step in scores.keys() - stay if scores[step] is not None]
  assert len(stay) <= last + best
  assert sum(one >= max(gone, default=-2) for one in ranked) >= min(best, len(gone + ranked))


def test_scores_are_remembered_over_starts(tmp_path):
  for step, score in enumerate([0.5, 0.9, 0.1, 0.2, 0.3], 1):
    save(tmp_path, {step: score}, keep_last=1)
  assert names(tmp_path) == {'2', '5'}


def test_the_best_step_comes_back_to_be_used(tmp_path):
  save(tmp_path, dict(enumerate([0.5, 0.9, NAN, 0.2, None], 1)), keep_last=2, keep_best=2)
  found = restored(tmp_path, best=True)
  assert (found.step, found.score, bits(found.state)) == (2, 0.9, bits(state(2)))
  (tmp_path / '2/arrays/_METADATA').write_text('')
  found = restored(tmp_path, best=True)
  assert (found.step, [each.step for each in found.quarantined]) == (1, [2])
  assert names(tmp_path) == {'1', '4', '5', 'quarantine-2-other-size'}


def test_a_run_does_not_go_on_with_its_best_step(tmp_path):
  save(tmp_path, {1: 0.9, 2: 0.1})
  with opened(tmp_path).claim() as checkpoints:
    assert checkpoints.restore(state(), best=True).step == 1
    with pytest.raises(StorageError, match='did not go on'):
      checkpoints.save(3, state(3))


def test_without_a_score_there_is_no_best_step(tmp_path):
  save(tmp_path, {1: None, 2: NAN})
  assert restored(tmp_path, best=True) is None
  assert restored(tmp_path).step == 2


def test_nothing_goes_before_the_next_step_is_right(tmp_path, monkeypatch):
  """Here a new step is damaged between its writing and its check."""
  save(tmp_path, {1: None}, keep_last=1)
  rename = layout.os.rename

  def damaging(source, target):
    rename(source, target)
    if str(target) == str(tmp_path / '2'):
      (tmp_path / '2/arrays/_METADATA').write_text('')

  with opened(tmp_path, keep_last=1).claim() as checkpoints:
    checkpoints.restore(state())
    with monkeypatch.context() as patch:
      patch.setattr(store.os, 'rename', damaging)
      checkpoints.save(2, state(2))
      with pytest.raises(WeightsError, match='not on the disk as it was written'):
        checkpoints.wait()
    assert names(tmp_path) == {'.holder.json', '1', 'quarantine-2-other-size'}
    checkpoints.save(3, state(3))
  assert names(tmp_path) == {'3', 'quarantine-2-other-size'}


def test_a_step_is_read_again_before_older_ones_go(tmp_path, monkeypatch):
  events = []
  check, delete = verifying.check, layout.delete

  def checking(folder, step):
    events.append(('check', step))
    return check(folder, step)

  def deleting(folder, step):
    events.append(('delete', step))
    return delete(folder, step)

  monkeypatch.setattr(verifying, 'check', checking)
  monkeypatch.setattr(layout, 'delete', deleting)
  save(tmp_path, {1: None, 2: None}, keep_last=1)
  assert events == [('check', 1), ('check', 2), ('delete', 1)]


def test_deleting_follows_no_links(tmp_path):
  precious = tmp_path / 'precious'
  precious.mkdir()
  (precious / 'work').write_text('of years')
  folder = save(tmp_path / 'run', {1: None}, keep_last=1)
  (folder / '1/arrays/link').symlink_to(precious)
  (folder / '.trash-5-0123abcd').symlink_to(precious)
  (folder / '.writing-5-0123abcd').mkdir()
  (folder / '.writing-5-0123abcd/link').symlink_to(precious)
  save(folder, {2: None}, keep_last=1)
  assert names(folder) == {'2'}
  assert (precious / 'work').read_text() == 'of years'


def test_a_step_without_a_readable_manifest_is_not_deleted(tmp_path):
  save(tmp_path, {1: None, 2: None})
  (tmp_path / '1/manifest.json').write_text('{}')
  save(tmp_path, {3: None, 4: None})
  assert names(tmp_path) == {'1', '3', '4'}


def test_leftovers_go_at_the_next_start(tmp_path):
  folder = save(tmp_path / 'run', {1: None})
  for name in '.writing-2-0123abcd', '.trash-0-89abcdef':
    (folder / name / 'arrays').mkdir(parents=True)
    (folder / name / 'arrays/part').write_text('x')
  (folder / '.trash-3-0123abcd').write_text('a file')
  (folder / '.writing-of-mine').mkdir()
  found = restored(folder)
  assert names(folder) == {'1', '.writing-of-mine'}
  assert (found.step, bits(found.state)) == (1, bits(state(1)))
