"""The published counts, to the unit: Karimi Mahabadi et al. 2021, tables 1 and 2.

The paper counts T5 with the tokenizer's 32,100 rows. Where it prints only a percentage, the unit is
that of the reference implementation.
"""

import dataclasses

import pytest

from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError
from compacter_jax.methods.adapter import Adapter
from compacter_jax.methods.bitfit import BitFit
from compacter_jax.methods.compacter import Compacter
from compacter_jax.methods.ia3 import Ia3
from compacter_jax.methods.lora import LoRA
from compacter_jax.methods.low_rank_adapter import LowRankAdapter
from compacter_jax.methods.prompt import Prompt
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import Model
from compacter_jax.t5.config import Config, count
from compacter_jax.t5.sizes import size_named

BASE = Config(vocab=32100)
SMALL, LARGE = (
  dataclasses.replace(size_named(f't5-{size}'), vocab=32100) for size in ('small', 'large')
)
NORMS = Unfreeze('.*norm/scale')
UPPER = tuple(range(5, 12))
ATTENTION, FFN = '.*/self_attention', '.*/ffn'


def phm(n, **fields):
  return Compacter(n=n, rank=None, share_a=False, **fields)


ROWS = [
  # method, trainable with the norms, per cent of T5-base
  (LowRankAdapter(), 161_664, 0.0725),
  (Adapter(), 1_855_104, 0.8323),
  (Adapter(where=ATTENTION), 951_360, 0.4268),
  (Adapter(encoder_layers=UPPER, decoder_layers=UPPER), 1_101_984, 0.4944),
  (phm(12), 398_976, 0.1790),
  (phm(4), 534_144, 0.2397),
  (phm(8), 355_968, 0.1597),
  (Compacter(n=4), 161_728, 0.0726),
  (Compacter(n=8), 162_176, 0.0728),
  (Compacter(n=12), 163_392, 0.0733),
  (Compacter(n=4, where=FFN), 104_704, 0.0470),
  (Compacter(n=8, where=FFN), 105_152, 0.0472),
  (Compacter(n=12, where=FFN), 106_368, 0.0477),
  (Adapter(width=48), 3_625_728, 1.6267),
  (Compacter(width=48), 165_184, 0.0741),
  (Compacter(width=48, where=FFN), 106_432, 0.0478),
  (Adapter(reduction=8), 7_166_976, 3.2156),
  (Compacter(reduction=8), 172_096, 0.0772),
  (Compacter(reduction=8, where=FFN), 109_888, 0.0493),
]


def trained(method, cfg=BASE):
  return Model(cfg, chain(norms=NORMS, adapters=method)).count()


@pytest.mark.parametrize(('method', 'number', 'percent'), ROWS)
def test_t5_base(method, number, percent):
  assert trained(method) == number
  assert round(100 * number / 222_882_048, 4) == percent
  # The table that is printed says the same.
  table = str(Model(BASE, chain(norms=NORMS, adapters=method)))
  assert f'{number:,}' in table and f'{percent:.4f} % of 222,882,048' in table


def test_full_fine_tuning():
  assert count(BASE) == Model(BASE, Unfreeze()).count() == 222_882_048
  assert count(Config()) == 222_903_552


OTHERS = [
  (SMALL, 512, 60_492_288, 16_384, 422_272, 54_464, 35_456),
  (LARGE, 1024, 737_639_424, 124_928, 6_517_760, 429_120, 277_056),
]


@pytest.mark.parametrize(
  ('cfg', 'd', 'base', 'norms', 'adapter', 'compacter', 'plus'), OTHERS, ids=['small', 'large']
)
def test_t5_small_and_large(cfg, d, base, norms, adapter, compacter, plus):
  assert count(cfg) == base
  assert Model(cfg, NORMS).count() == norms
  assert trained(Adapter(), cfg) == trained(Adapter(width=d // 32), cfg) == adapter
  assert trained(Compacter(), cfg) == compacter
  assert trained(Compacter(where=FFN), cfg) == plus
  with pytest.raises(ConfigError, match='n=12'):
    trained(Compacter(n=12), cfg)


PLAIN = [  # methods that leave T5's layer norms alone
  (BitFit(), 280_932),
  (BitFit(where=r'.*/layers/(.*/(q|k|v|o|wi|wo)|.*_norm)'), 248_832),
  (Prompt(), 76_800),
  (Prompt(init='vocabulary'), 76_800),
  (LoRA(), 36 * 2 * 8 * (768 + 768)),
  (Ia3(), 36 * 2 * 768 + 24 * 3072),
]


@pytest.mark.parametrize(('method', 'number'), PLAIN)
def test_methods_without_norms(method, number):
  assert Model(BASE, method).count() == number


def test_bitfit_and_prompts_of_other_sizes():
  assert [Model(cfg, BitFit()).count() for cfg in (SMALL, LARGE)] == [115_044, 695_652]
  assert [Model(cfg, Prompt()).count() for cfg in (SMALL, LARGE)] == [51_200, 102_400]


def test_norms_of_t5_base():
  specs = Model(BASE, NORMS).specs()
  assert Model(BASE, NORMS).count() == 47_616 == 62 * 768
  assert len(specs.weights) == 7  # five kinds within the layers, and one at the end of each stack


# Formulas of the variants that the paper only describes (D 768, M 24, 48 adapters, rank R).
D, M, ADAPTERS, LN = 768, 24, 48, 47_616
BIASES = M + D


@pytest.mark.parametrize('n', [4, 8, 12])
@pytest.mark.parametrize('rank', [1, 2, 5])
def test_variants_of_compacter(n, rank):
  per_adapter = 2 * rank * (D + M)
  full, factored = n**3, 2 * n**2
  count = lambda **fields: trained(Compacter(n=n, rank=rank, **fields))
  assert count() == ADAPTERS * (per_adapter + BIASES) + full + LN
  assert count(factorized_a=True) == ADAPTERS * (per_adapter + BIASES) + factored + LN
  assert count(share_b=True) == per_adapter + ADAPTERS * BIASES + full + LN
  assert count(learn_a=False) == ADAPTERS * (per_adapter + BIASES) + LN
  assert count(bias=False) == ADAPTERS * per_adapter + full + LN
  assert count(share_a=False) == ADAPTERS * (per_adapter + 2 * full + BIASES) + LN
  assert count(share_a=False, factorized_a=True) == (
    ADAPTERS * (per_adapter + 2 * factored + BIASES) + LN
  )


@pytest.mark.parametrize('n', [4, 8, 12])
def test_variants_of_the_phm_adapter(n):
  whole = 2 * D * M // n
  assert trained(phm(n)) == ADAPTERS * (whole + 2 * n**3 + BIASES) + LN
  assert trained(Compacter(n=n, rank=None)) == ADAPTERS * (whole + BIASES) + n**3 + LN
  assert trained(Compacter(n=n, rank=None, share_b=True)) == whole + ADAPTERS * BIASES + n**3 + LN


def test_layers_left_out_cost_nothing():
  some = Compacter(encoder_layers=(0, 1, 7), decoder_layers=())
  assert trained(some) == 3 * 2 * (2 * (D + M) + BIASES) + 4**3 + LN
