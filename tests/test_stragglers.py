"""Which host is told to hold up the others."""

import pytest

from experiments.stragglers import Stragglers, told


@pytest.mark.parametrize(
  'own, slow',
  [
    ([0.01, 0.01, 0.50, 0.02], 2),
    ([0.50, 0.02], 0),
    ([0.02, 0.04, 0.02], None),  # twice the others, and not more
    ([0.001, 0.001, 0.09], None),  # much more, and a small part of a step
    ([0.3, 0.3, 0.3], None),
    ([0.0, 0.0], None),
  ],
)
def test_the_slowest_is_told_if_it_holds_up_the_others(own, slow):
  text = told([(f'host{i}', seconds, 1.0) for i, seconds in enumerate(own)])
  if slow is None:
    assert text == ''
  else:
    assert text.startswith(f'process {slow} (host{slow}) is slow') and f'{own[slow]:.3g} s' in text


def test_one_process_holds_up_nobody():
  alone = Stragglers()
  alone.begin(0)
  alone.own(9.0)
  assert alone.found(1) == ''
