"""What is read off the text of a compiled program: collectives, loops and traffic."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from compacter_jax import sharding
from experiments.plan.collectives import collectives, group_size
from experiments.plan.hlo import Module, size
from experiments.plan.traffic import traffic

LOOP = """HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p = (s32[], f32[8,4]{1,0:T(8,128)}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8,4]{1,0:T(8,128)} get-tuple-element(%p), index=1
  %r = f32[8,4]{1,0} all-reduce(%x), channel_id=1, replica_groups={{0,1},{2,3}}, to_apply=%add
  ROOT %t = (s32[], f32[8,4]{1,0}) tuple(%i, %r)
}

%condition (p.1: (s32[], f32[8,4])) -> pred[] {
  %p.1 = (s32[], f32[8,4]{1,0}) parameter(0)
  %n = s32[]{:T(128)} constant(7)
  %i.1 = s32[] get-tuple-element(%p.1), index=0
  ROOT %lt = pred[] compare(%i.1, %n), direction=LT
}

ENTRY %main (x.1: f32[8,4]) -> f32[32,4] {
  %x.1 = f32[8,4]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %in = (s32[], f32[8,4]{1,0}) tuple(%zero, %x.1)
  %loop = (s32[], f32[8,4]{1,0}) while(%in), condition=%condition, body=%body
  %y = f32[8,4]{1,0} get-tuple-element(%loop), index=1
  %start = (f32[8,4], f32[32,4]) all-gather-start(%y), replica_groups=[1,4]<=[4], dimensions={0}
  ROOT %done = f32[32,4]{1,0} all-gather-done(%start)
}
"""


def test_collectives_count_as_often_as_their_loop_turns():
  # An all-reduce sends 2 x 1/2 of its 128 bytes seven times, an all-gather its 128 thrice.
  found = {each.kind: (each.count, each.bytes) for each in collectives(Module(LOOP), 4)}
  assert found == {'all-reduce': (7, 7 * 128), 'all-gather': (1, 3 * 128)}


def test_a_loop_that_tells_its_turns_is_believed():
  told = LOOP.replace('body=%body', 'body=%body, backend_config={"known_trip_count":{"n":"5"}}')
  assert {c.kind: c.count for c in collectives(Module(told), 4)}['all-reduce'] == 5
  dark = LOOP.replace('s32[]{:T(128)} constant(7)', 's32[] add(%i.1, %i.1)')
  assert {c.kind: c.count for c in collectives(Module(dark, 3), 4)}['all-reduce'] == 3


SPREAD = """HloModule jit_step

%part.1 (a: bf16[16]) -> bf16[32] {
  %a = bf16[16]{0} parameter(0)
  ROOT %g = bf16[32]{0} all-gather(%a), channel_id=5, replica_groups={{0,1}}, dimensions={0}
}

%part.2 (b: bf16[16]) -> bf16[32] {
  %b = bf16[16]{0} parameter(0)
  ROOT %h = bf16[32]{0} all-gather(%b), channel_id=5, replica_groups={{0,1}}, dimensions={0}
}

%all-reduce-scatter.3 (c: f32[64]) -> f32[32] {
  %c = f32[64]{0} parameter(0)
  %s = f32[64]{0} all-reduce(%c), channel_id=6, replica_groups={{0,1}}, to_apply=%add
  ROOT %d = f32[32]{0} dynamic-slice(%s, %s), dynamic_slice_sizes={32}
}

ENTRY %main (x: bf16[16], y: f32[64]) -> bf16[32] {
  %x = bf16[16]{0} parameter(0)
  %y = f32[64]{0} parameter(1)
  %one = bf16[32]{0} fusion(%x), kind=kCustom, calls=%part.1
  %scattered = f32[32]{0} fusion(%y), kind=kCustom, calls=%all-reduce-scatter.3
  ROOT %two = bf16[32]{0} fusion(%x), kind=kCustom, calls=%part.2
}
"""


def test_a_collective_that_is_spread_over_fusions_counts_once():
  found = {each.kind: (each.count, each.bytes) for each in collectives(Module(SPREAD), 2)}
  assert found == {'all-gather': (1, 32), 'reduce-scatter': (1, 128)}
  apart = SPREAD.replace('all-gather(%b), channel_id=5', 'all-gather(%b), channel_id=7')
  assert {c.kind: c.count for c in collectives(Module(apart), 2)}['all-gather'] == 2


@pytest.mark.parametrize(
  ('text', 'group'),
  [
    ('replica_groups={{0,1,2},{3,4,5}}, dimensions={0}', 3),
    ('replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}', 2),
    ("replica_groups=mesh['axis_0'=2,'axis_1'=4,'axis_2'=2] {'axis_1','axis_2'}, to_apply=%a", 8),
    ("replica_groups=mesh['axis_0'=8] {'axis_0':(2)4}, to_apply=%a", 4),
    (
      "replica_groups=mesh['axis_0'=4,'axis_1'=1,'axis_2'=4], device_ids=([4,4]T(1,0)) {'axis_0'}, "
      "dimensions={1}, metadata={op_name='{x}'}",
      4,
    ),
    ('replica_groups={}, to_apply=%a', 16),
    ('source_target_pairs={{0,1},{1,0}}', 16),
  ],
)
def test_groups_are_read_in_every_notation(text, group):
  assert group_size(text, 16) == group
  with pytest.raises(ValueError, match='unknown notation'):
    group_size('replica_groups=of_another_kind', 16)


@pytest.mark.parametrize(
  ('shape', 'whole', 'hbm'),
  [
    ('bf16[3,5]{1,0:T(8,128)(2,1)}', 30, 30),
    ('(f32[2]{0}, pred[3]{0:S(1)}, token[])', 11, 8),
    ('s4[5]{0}', 3, 3),
    ('f8e4m3fn[7]{0:T(256)S(0)}', 7, 7),
    ('s32[]', 4, 4),
    ('(f32[8,4]{1,0:S(1)}, /*index=1*/u64[2])', 144, 16),
  ],
)
def test_bytes_of_a_shape(shape, whole, hbm):
  assert (size(shape), size(shape, hbm=True)) == (whole, hbm)


MOVES = """HloModule jit_step

%look (w: f32[6,100], i: s32[]) -> f32[1,100] {
  %w = f32[6,100]{1,0} parameter(0)
  %i = s32[] parameter(1)
  ROOT %slice = f32[1,100]{1,0} dynamic-slice(%w, %i), dynamic_slice_sizes={1,100}
}

%store (w.1: f32[6,100], u: f32[1,100], i.1: s32[]) -> f32[6,100] {
  %w.1 = f32[6,100]{1,0} parameter(0)
  %u = f32[1,100]{1,0} parameter(1)
  %i.1 = s32[] parameter(2)
  ROOT %new = f32[6,100]{1,0} dynamic-update-slice(%w.1, %u, %i.1)
}

ENTRY %main (w.2: f32[6,100], i.2: s32[]) -> f32[6,100] {
  %w.2 = f32[6,100]{1,0} parameter(0)
  %i.2 = s32[] parameter(1)
  %row = f32[1,100]{1,0} fusion(%w.2, %i.2), kind=kLoop, calls=%look
  %near = f32[1,100]{1,0:S(1)} copy(%row)
  ROOT %out = f32[6,100]{1,0} fusion(%w.2, %near, %i.2), kind=kLoop, calls=%store
}
"""


def test_traffic_counts_what_is_touched():
  # A row is read and written, read again into the chip, and written to its place; an index twice.
  assert traffic(Module(MOVES)) == (400 + 4 + 400) + 400 + (4 + 400)


def test_traffic_sees_through_a_fusion_in_a_fusion():
  outer = """%outer (w.5: f32[6,100], i.5: s32[]) -> f32[1,100] {
  %w.5 = f32[6,100]{1,0} parameter(0)
  %i.5 = s32[] parameter(1)
  ROOT %inner = f32[1,100]{1,0} fusion(%w.5, %i.5), kind=kLoop, calls=%look
}

ENTRY"""
  nested = MOVES.replace('calls=%look', 'calls=%outer').replace('ENTRY', outer)
  assert traffic(Module(nested)) == traffic(Module(MOVES))


def test_traffic_knows_a_copy_that_is_none():
  copied = MOVES.replace(
    '  ROOT %slice = f32[1,100]{1,0} dynamic-slice(%w,',
    """  %copied = f32[6,100]{1,0} fusion(%w), output_to_operand_aliasing={{}: (0, {})}, calls=%copy
  %view = f32[6,100]{1,0} bitcast(%copied)
  ROOT %slice = f32[1,100]{1,0} dynamic-slice(%view,""",
  )
  assert copied != MOVES and traffic(Module(copied)) == traffic(Module(MOVES))


def test_a_buffer_that_is_only_set_aside_moves_nothing():
  call = '  %room = f32[99]{0} custom-call(), custom_call_target="AllocateBuffer"\n  ROOT %out'
  assert traffic(Module(MOVES.replace('  ROOT %out', call))) == traffic(Module(MOVES))
  other = call.replace('AllocateBuffer', 'Sort')
  more = traffic(Module(MOVES.replace('  ROOT %out', other))) - traffic(Module(MOVES))
  assert more == 99 * 4


def test_a_real_program_is_read():
  """On eight devices: a sum over four and a collection among two, in a loop of three turns."""
  mesh = sharding.make_mesh(1, 4, 2)

  def turn(x, _):
    y = jax.lax.psum(x, 'fsdp')
    z = jax.lax.all_gather(y, 'tensor', tiled=True)
    return y * z.sum(), None

  def run(x):
    return jax.lax.scan(turn, x, None, length=3)[0]

  spec = PartitionSpec('fsdp', 'tensor')
  mapped = jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
  x = jax.ShapeDtypeStruct((16, 6), jnp.float32, sharding=NamedSharding(mesh, spec))
  module = Module(jax.jit(mapped).lower(x).compile().as_text())
  found = {each.kind: (each.count, each.bytes) for each in collectives(module, 8)}
  shard = 4 * 3 * 4  # bytes
  assert found['all-reduce'] == (3, 3 * shard * 2 * 3 / 4)
  assert found['all-gather'] == (3, 3 * shard)
