"""Whatever is wrong with a step is seen, told and kept, and the run goes on with the one before."""

import os
import random
import shutil

import pytest

from compacter_jax.checkpoints import verify
from compacter_jax.errors import WeightsError
from tests.checkpoints.states import bits, names, opened, restored, save, state

FLIPS = 1_000


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A folder with steps 1 and 2."""
  return save(tmp_path_factory.mktemp('whole'), {1: 0.1, 2: 0.2})


@pytest.fixture
def folder(whole, tmp_path):
  """A copy of it, to damage."""
  return shutil.copytree(whole, tmp_path / 'run')


def files_of(step):
  return sorted(path for path in step.rglob('*') if path.is_file())


def relative(whole):
  return [path.relative_to(whole / '2') for path in files_of(whole / '2')]


def flip(path, bit):
  """One bit the other way; a second time it is as before."""
  data = bytearray(path.read_bytes())
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)


def falls_back(folder, reason):
  """Restores step 1, and finds step 2 in quarantine for that reason."""
  said = []
  found = restored(folder, say=said.append)
  assert (found.step, bits(found.state)) == (1, bits(state(1)))
  assert [(each.step, each.reason) for each in found.quarantined] == [(2, reason)]
  assert names(folder) == {'1', f'quarantine-2-{reason}'}
  assert len(said) == 1 and f'quarantine-2-{reason}' in said[0]
  return found.quarantined[0].told


def test_a_flipped_bit_in_any_file_is_seen(whole, tmp_path):
  for number, path in enumerate(relative(whole)):
    copy = shutil.copytree(whole, tmp_path / str(number))
    flip(copy / '2' / path, 8 * ((copy / '2' / path).stat().st_size // 2))
    kept = (copy / '2' / path).read_bytes()
    reason = 'manifest' if path.name == 'manifest.json' else 'other-bytes'
    assert str(path) in falls_back(copy, reason)
    assert (copy / f'quarantine-2-{reason}' / path).read_bytes() == kept


def test_no_flipped_bit_is_silent(folder):
  rng, paths = random.Random(0), files_of(folder / '2')
  sizes = [path.stat().st_size for path in paths]
  for _ in range(FLIPS):
    (path,) = rng.choices(paths, sizes)
    bit = rng.randrange(8 * path.stat().st_size)
    flip(path, bit)
    assert verify(folder)[0].reason, (path, bit)
    flip(path, bit)
  assert not verify(folder)[0].reason


@pytest.mark.parametrize('left', ['none', 'half', 'all but one byte', 'no file'])
def test_a_file_cut_short_is_seen(whole, tmp_path, left):
  for number, path in enumerate(relative(whole)):
    copy = shutil.copytree(whole, tmp_path / str(number))
    file = copy / '2' / path
    data = file.read_bytes()
    if left == 'no file':
      file.unlink()
      reason = 'no-manifest' if path.name == 'manifest.json' else 'missing-file'
    else:
      length = {'none': 0, 'half': len(data) // 2, 'all but one byte': len(data) - 1}[left]
      file.write_bytes(data[:length])
      reason = 'manifest' if path.name == 'manifest.json' else 'other-size'
    assert str(path) in falls_back(copy, reason)


@pytest.mark.parametrize('name', ['arrays/_METADATA', 'manifest.json'])
@pytest.mark.parametrize('kind', ['link', 'pipe'])
def test_a_file_that_became_another_thing_is_not_opened(folder, name, kind):
  file = folder / '2' / name
  file.rename(folder.parent / 'same')
  if kind == 'link':
    file.symlink_to(folder.parent / 'same')
  else:
    os.mkfifo(file)
  falls_back(folder, 'manifest' if name == 'manifest.json' else 'unreadable-file')


def test_a_folder_that_became_a_link_is_not_followed(folder):
  (folder / '2/arrays').rename(folder.parent / 'same')
  (folder / '2/arrays').symlink_to(folder.parent / 'same')
  falls_back(folder, 'missing-file')


def test_a_step_under_another_number_is_seen(folder):
  shutil.copytree(folder / '2', folder / '3')
  assert [finding.reason for finding in verify(folder)] == ['other-step', '', '']
  assert restored(folder).step == 2


def test_a_space_in_the_manifest_is_seen(folder):
  path = folder / '2/manifest.json'
  path.write_bytes(path.read_bytes() + b' ')
  falls_back(folder, 'manifest')


def test_a_file_too_many_is_told_and_does_no_harm(folder):
  (folder / '2/arrays/d/more').write_text('?')
  (folder / '2/link').symlink_to('/')
  said = []
  found = restored(folder, say=said.append)
  assert (found.step, bits(found.state)) == (2, bits(state(2)))
  assert len(said) == 1 and 'arrays/d/more' in said[0]
  assert verify(folder)[0].extra == ('arrays/d/more', 'link')


def test_findings_are_about_every_step_and_change_nothing(folder):
  flip(folder / '1/arrays/_METADATA', 0)
  before = {path: path.read_bytes() for path in files_of(folder)}
  newer, older = verify(folder)
  assert (newer.step, newer.reason, newer.told) == (2, '', '')
  assert (older.step, older.reason) == (1, 'other-bytes')
  assert older.path == str(folder / '1') and 'arrays/_METADATA' in older.told
  assert {path: path.read_bytes() for path in files_of(folder)} == before


def test_where_all_are_bad_the_run_does_not_start_anew(folder):
  flip(folder / '1/arrays/_METADATA', 0)
  (folder / '2/manifest.json').unlink()
  for _ in range(3):  # not at the next start either
    with opened(folder).claim() as checkpoints:
      with pytest.raises(WeightsError, match='none can be used') as caught:
        checkpoints.restore(state())
      assert caught.value.exit_code == 4
      assert 'other-bytes' in caught.value.got and 'no-manifest' in caught.value.got
    assert names(folder) == {'quarantine-1-other-bytes', 'quarantine-2-no-manifest'}


def test_all_are_listed_with_their_reasons(folder):
  flip(folder / '1/arrays/_METADATA', 0)
  (folder / '2/manifest.json').unlink()
  with pytest.raises(WeightsError) as caught:
    restored(folder)
  assert 'step 2: no-manifest: manifest.json: No such file' in caught.value.got
  assert 'step 1: other-bytes: arrays/_METADATA: other bytes' in caught.value.got


def test_quarantined_steps_pile_up(folder):
  (folder / 'quarantine-2-other-bytes').mkdir()
  flip(folder / '2/arrays/_METADATA', 0)
  assert restored(folder).step == 1
  assert names(folder) == {'1', 'quarantine-2-other-bytes', 'quarantine-2-other-bytes-2'}
  save(folder, {2: None})
  assert restored(folder).step == 2


def absurd(folder):
  """Things whose names look like those of steps."""
  folder.mkdir(exist_ok=True)
  for name in '9', '09', '1' * 25, '-3', '+4', '5.0', '٧', '７', '0x8', ' 6', 'latest':
    (folder / name).mkdir()
  for name in '09', '1' * 25, '٧', '７', 'latest':
    (folder / name / 'manifest.json').write_text('{}')
  (folder / '7').write_text('a file')
  (folder / '8').symlink_to(folder / '1')
  (folder / 'quarantine-of-mine').mkdir()
  return names(folder)


def test_what_is_no_step_is_ignored_with_one_notice(folder):
  before, said = absurd(folder), []
  assert restored(folder, say=said.append).step == 2
  assert len(said) == 1 and 'ignored' in said[0] and "'7'" in said[0]
  assert names(folder) == before
  assert [finding.step for finding in verify(folder)] == [2, 1]


def test_a_folder_without_any_step_has_none(tmp_path):
  before = absurd(tmp_path / 'run') | {'8'}
  assert restored(tmp_path / 'run') is None
  assert names(tmp_path / 'run') == before
  assert verify(tmp_path / 'nowhere') == []


def test_what_has_the_name_of_a_new_step_is_put_aside(tmp_path):
  absurd(tmp_path)
  said = []
  save(tmp_path, {7: None, 8: None, 9: None}, say=said.append, keep_last=3)
  assert [finding.step for finding in verify(tmp_path)] == [9, 8, 7]
  assert len([text for text in said if 'aside' in text]) == 3
  aside = {name.rpartition('-')[0]: name for name in names(tmp_path) if 'aside' in name}
  assert (tmp_path / aside['aside-7']).read_text() == 'a file'
  assert (tmp_path / aside['aside-8']).is_symlink()
