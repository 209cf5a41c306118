"""How T5 is run, apart from what it computes."""

import dataclasses

from compacter_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Mode:
  """How T5 is run: whatever changes the program, but not the function it approximates.

  Attributes:
    dtype: of activations and products; weights are cast to it. float32 or bfloat16.
    remat: what the backward pass computes again: 'none', 'dots' (all but products of weights) or
      'full' (whole layers).
    unroll: layers per turn of the loop over layers. More compile longer, and copy less of what the
      backward pass finds stored: of use on a CPU.
    training: whether dropout acts.
  """

  dtype: str = 'float32'
  remat: str = 'none'
  unroll: int = 1
  training: bool = False

  def __post_init__(self):
    if self.dtype == 'float16':
      raise ConfigError(
        'T5 does not run in float16.',
        where='dtype',
        expected='float32 or bfloat16',
        got='float16',
        fix='use bfloat16: activations of T5 exceed 65,504, the largest float16',
      )
    for field, choices in ('dtype', ('float32', 'bfloat16')), ('remat', ('none', 'dots', 'full')):
      if getattr(self, field) not in choices:
        raise ConfigError(
          f'Unknown {field}.',
          where=field,
          expected=f'one of {choices}',
          got=repr(getattr(self, field)),
        )
    if self.unroll < 1:
      raise ConfigError(
        'A turn of the loop over layers runs at least one.',
        where='unroll',
        expected='a positive number of layers',
        got=repr(self.unroll),
      )
