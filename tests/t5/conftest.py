"""The weights and rows that tests of the network share."""

import pytest

from tests.conftest import draw
from tests.t5.small import CFG, make_batch


@pytest.fixture(scope='module')
def frozen():
  return draw(CFG)


@pytest.fixture(scope='module')
def batch():
  return make_batch(CFG)
