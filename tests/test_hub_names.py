import pytest

from compacter_jax.hub_names import parse

COMMIT = '0123456789abcdef0123456789abcdef01234567'


@pytest.mark.parametrize(
  ('name', 'repository', 'revision'),
  [
    ('t5-base', 't5-base', None),
    ('google/t5-v1_1-base', 'google/t5-v1_1-base', None),
    (f'google/t5-v1_1-base@{COMMIT}', 'google/t5-v1_1-base', COMMIT),
    ('t5-base@v1.0', 't5-base', 'v1.0'),
  ],
)
def test_names(name, repository, revision):
  assert parse(name) == (repository, revision)


@pytest.mark.parametrize(
  'name',
  ['', './t5', '/t5', '~/t5', 'a/b/c', 't5@', '@main', 't5@a@b', 't5@../x', 't5@a/b', 't5 x'],
)
def test_what_is_no_name(name):
  assert parse(name) is None
