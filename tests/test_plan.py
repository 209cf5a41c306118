"""The plan of a run: what is read off a compiled program, and what is made of it."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax import optim, sharding, t5, train
from compacter_jax.errors import ConfigError
from compacter_jax.model import Model
from compacter_jax.placement import Placement
from compacter_jax.t5.config import shapes
from experiments import schema
from experiments.configs import HERE, read_config
from experiments.flops import count_flops
from experiments.plan import chips, estimate, memory, pieces, planning, scale, search, topology
from experiments.plan.programs import Programs, config_of
from experiments.plan.roofline import roofline
from tests.conftest import draw

ROOT = Path(__file__).parents[1]
GIB = 2**30


@pytest.fixture(autouse=True)
def standard_promotion():
  """optax multiplies floats by integer counts, which the strict promotion of tests refuses."""
  with jax.numpy_dtype_promotion('standard'):
    yield


def job(name='compacter', **changes):
  settings = read_config(HERE / f'{name}.py').to_dict()
  settings |= {'model': 'nano', 'batch_size': 16, 'eval_batch_size': 12}
  settings['data'] |= {'max_source': 24, 'max_target': 8}
  for key, value in changes.items():
    settings[key] = settings[key] | value if isinstance(value, dict) else value
  return schema.job(settings)


def test_a_roofline_by_hand():
  chip = chips.Chip('x', 'x', flops=100.0, bandwidth=10.0, interconnect=4.0)
  floor = roofline(chip, flops=200.0, traffic=50.0, sent=4.0)
  assert floor is not None
  assert (floor.compute, floor.hbm, floor.interconnect) == (2.0, 5.0, 2.0)
  assert (floor.seconds, floor.wall) == (5.0, 'hbm')
  assert roofline(chip, 600.0, 50.0, 4.0).wall == 'compute'
  assert roofline(chip, 200.0, 50.0, 14.0).seconds == 7.0
  assert roofline(chips.Chip('cpu', 'cpu'), 1.0, 1.0, 1.0) is None


def test_a_loop_without_end_counts_as_often_as_is_said():
  x = jnp.ones((3, 3))

  def run(x):
    return jax.lax.while_loop(lambda y: y.sum() < 9, lambda y: y @ x, x)

  assert count_flops(run, x, turns=4) == 4 * 2 * 27
  with pytest.raises(ValueError, match='turns'):
    count_flops(run, x)


@pytest.mark.parametrize(
  ('name', 'sizes'), [('compacter', (2, 2, 2)), ('full', (1, 4, 2)), ('lora', (8, 1, 1))]
)
def test_memory_of_a_chip_is_that_of_its_shards(name, sizes):
  """Of arrays that are really laid out, as a run does it."""
  wanted = job(name, mesh=dict(zip(('data', 'fsdp', 'tensor'), sizes)))
  cfg = dataclasses.replace(config_of('nano'), encoder_layers=2, decoder_layers=2)
  program = Programs(wanted, cfg, topology.find('cpu:8')).step(16, 24, 8)
  frozen, model = draw(cfg), Model(cfg, wanted.method)
  placement = Placement(sharding.make_mesh(*sizes), model, frozen)
  optimizer = optim.build(wanted.optim, 1_000)
  with jax.set_mesh(placement.mesh):
    state = placement.state(model.init(jax.random.key(0), frozen), optimizer, 7)
    weights = placement.weights(model.trim(frozen))
    rows = np.ones((16, 24), np.int32)
    batch = placement.batch({'source': rows, 'target': rows[:, :8]})
    step = train.make_step(model, optimizer, lies=placement.lies(optimizer))
    executable = step.lower(state, weights, batch).compile()
    real = executable.memory_analysis()
    told = memory.compiled(program, None)[0]
    held = {
      'frozen': weights,
      'tuned': state.tuned,
      'optimizer': (state.opt, state.step, state.seed),
      'batch': batch,
    }
    first = jax.devices()[0]
    for group, tree in held.items():
      shards = [s for x in jax.tree.leaves(tree) for s in x.addressable_shards]
      assert told.groups[group] == sum(s.data.nbytes for s in shards if s.device == first), group
    assert sum(told.groups.values()) == pytest.approx(real.argument_size_in_bytes, rel=0.02)
    results = real.output_size_in_bytes - real.alias_size_in_bytes
    total = real.argument_size_in_bytes + results + real.temp_size_in_bytes
    assert told.total - told.beside == pytest.approx(total, rel=0.15)
    assert told.beside == told.groups['tuned']
    assert np.isfinite(executable(state, weights, batch)[1]['loss'])


def test_dtype_and_accumulation_are_those_of_the_run():
  names = 'frozen', 'batch'
  host = topology.find('cpu:8')
  plain = Programs(job(), config_of('nano'), host).step(16, 24, 8)
  half = Programs(job(weights_dtype='bfloat16'), config_of('nano'), host).step(16, 24, 8)
  plain, half = ({name: memory.per_chip(p.groups[name]) for name in names} for p in (plain, half))
  assert half['frozen'] * 2 == plain['frozen'] and half['batch'] == plain['batch']
  assert Programs(job(accumulate=2), config_of('nano'), host).unit == 16
  packed = job(data={'batching': 'packed'})
  batch = Programs(packed, config_of('nano'), host).step(16, 24, 8).groups['batch']
  assert set(batch) == {'source', 'target', 'source_segments', 'target_segments'}


def test_what_does_not_fit_is_told_by_the_compiler():
  said = (
    'RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries '
    '(16.50G) exceeds available HBM (15.75G).'
  )
  found = memory.exhausted(said, {'frozen': GIB // 2})
  assert not found.fits
  assert (found.total, found.temporaries, found.limit) == (16.5 * GIB, 16 * GIB, 15.75 * GIB)
  said = 'RESOURCE_EXHAUSTED: ... Used 20.0G of 15.75G hbm. Exceeded hbm capacity by 4.25G.'
  assert memory.exhausted(said, {}).total == 20 * GIB
  with pytest.raises(ConfigError, match='step cannot be compiled'):
    memory.exhausted('INTERNAL: Mosaic failed', {}, 'step')


def test_arguments_that_do_not_fit_are_not_compiled():
  program = Programs(job(), config_of('nano'), topology.find('cpu:8')).step(16, 24, 8)
  broken = dataclasses.replace(program, _function=None)
  found, executable = memory.compiled(broken, 1_000)
  assert executable is None and not found.fits


@pytest.mark.parametrize('unit', [1, 8, 24])
@pytest.mark.parametrize('limit', [99, 1_000, 12_345, 10**9])
def test_the_largest_batch_is_found_in_few_tries(unit, limit):
  tried = []

  def used(rows):
    return 100 + 3 * rows + rows // 7

  def memory(rows):
    assert rows % unit == 0
    tried.append(rows)
    return used(rows), limit

  found = search.largest(memory, unit, 96)
  true = max(r for r in range(0, search.MOST + 1, unit) if not r or used(r) <= limit)
  assert found <= true <= max(found * (1 + 1 / search.PRECISION), found + unit)
  assert len(tried) <= 8


def test_every_mesh_is_tried_and_the_best_comes_first():
  every = [(m.data, m.fsdp, m.tensor) for m in search.meshes(8)]
  assert len(every) == len(set(every)) == 10
  assert {np.prod(sizes) for sizes in every} == {8}
  wanted = planning.Wanted(8, search=True)
  plan = planning.plan(job(batch_size=12), topology.find('cpu:2'), wanted)
  assert [each.rows for each in plan.estimates] == [12, 12]
  why = {dataclasses.astuple(each.mesh)[:3]: each.why for each in plan.tried}
  assert len(why) == 3 and not any(why.values())
  sums = [t.estimate.sent + t.estimate.memory.total for t in plan.tried if t.estimate]
  assert sums == sorted(sums)
  assert {t.estimate.rows for t in plan.tried if t.estimate} == {12}
  for form in 'text', 'markdown':
    told = plan.text('compacter', form)
    assert '1 x 1 x 2' in told and 'kept beside it, MiB' in told
  json.dumps(plan.as_json())


def faults():
  batch = {'batch_size': 20, 'accumulate': 2}
  return [
    (lambda: topology.find('v9:2x2'), 'v5e'),
    (lambda: topology.find('v5e:3x3'), 'v5e:4x4'),
    (lambda: topology.find('v5e'), 'v5e:4x4'),
    (lambda: topology.find('cpu:0'), 'cpu:8'),
    (lambda: topology.find('cpu:99'), 'at most cpu:8'),
    (lambda: plan(job(mesh={'fsdp': 3})), r'\[1, 2, 4, 8\]'),
    (lambda: plan(job(**batch)), '16 or 32'),
    (lambda: plan(job(mesh={'tensor': 8})), 'its 4 heads'),
    (lambda: plan(job(model='t5-bse')), 't5-base'),
  ]


def plan(wanted):
  return planning.plan(wanted, topology.find('cpu:8'), planning.Wanted(8))


@pytest.mark.parametrize('which', range(9))
def test_what_cannot_be_is_told_with_what_can(which):
  act, told = faults()[which]
  with pytest.raises(ConfigError) as caught:
    act()
  assert re.search(told, str(caught.value))


@pytest.mark.parametrize('bound', [search.MOST, 100])
@pytest.mark.parametrize('most', [0, 3, 4, 7, 24, 90, 10**9])
@pytest.mark.parametrize('start', [4, 8, 32, 96])
def test_rows_are_doubled_and_halved_while_they_fit(most, start, bound):
  tried = []

  def fits(rows):
    tried.append(rows)
    return rows <= most

  found = search.doubled(fits, start, 4, bound)
  every = {start << k for k in range(20)} | {start >> k for k in range(7) if start % 2**k == 0}
  every = {rows for rows in every if rows % 4 == 0 and rows <= bound}
  assert found == max((rows for rows in every if rows <= most), default=0)
  assert len(tried) == len(set(tried)) and set(tried) <= every


def test_the_meshes_of_the_table_are_of_all_chips():
  for chips_ in 4, 16, 256:
    for each in pieces.meshes(chips_):
      assert each.data * each.fsdp * each.tensor == chips_


def test_the_table_takes_the_first_mesh_that_fits_and_the_most_rows(monkeypatch, tmp_path):
  """Of a chip that holds 100: weights 96, split as the mesh splits them, and a unit a row."""
  seen = true, quick = [], []

  def compiled(program, limit, quick=False):
    sizes = dict(program.mesh.shape)
    weights = 96 // (sizes['fsdp'] * sizes['tensor'])
    rows = program.rows // 8
    seen[quick].append((*sizes.values(), program.rows))
    used = weights + rows if quick else weights + 2 * rows  # the true one holds more
    return memory.Memory({'frozen': weights, 'batch': used - weights}, 0, 0, 0, 0, 100), None

  monkeypatch.setattr(pieces, 'compiled', compiled)
  monkeypatch.setattr(estimate, 'compiled', compiled)
  line = [f'--workdir={tmp_path}', '--model', 'nano', '--topology', 'cpu:8', '--config']
  scale.main([*line, 'adapter', 'lora'])
  # 8 rows a chip do not fit beside all weights, and beside an eighth of them up to 64 do; twice as
  # many surely do not, which is not tried.
  assert quick == [(8, 1, 1, 64), (1, 8, 1, 64), (1, 8, 1, 512)]
  # Methods on the same frozen T5 begin, and here end, with the rows that fit.
  assert true == [(1, 8, 1, 512), (1, 8, 1, 256), (1, 8, 1, 256)]
  scale.main([*line, 'adapter', 'lora', 'prompt'])  # what is there is not made again
  assert len(quick) == 3 and true[3:] == [(1, 8, 1, 256)]
  text = (tmp_path / 'nano-prompt-cpu-8-largest.json').read_text()
  assert json.loads(text)['estimate']['rows'] == 256


@pytest.mark.parametrize(
  ('flag', 'name'), [('--model', 't5-bsae'), ('--topology', 'cpu:0'), ('--topology', 'v5e:5x5')]
)
def test_the_table_is_of_names_that_exist(flag, name, tmp_path):
  with pytest.raises(ConfigError, match=name):
    scale.main([f'--workdir={tmp_path}/w', '--model', 'nano', '--topology', 'cpu:8', flag, name])
  assert not (tmp_path / 'w').exists()


def test_the_table_tells_what_does_not_fit(monkeypatch, tmp_path, capsys):
  def compiled(program, limit, quick=False):
    held = 1000 - program.mesh.shape['fsdp']
    return memory.Memory({'frozen': held}, 0, 0, 0, 0, 100), None

  monkeypatch.setattr(pieces, 'compiled', compiled)
  scale.main(
    [f'--workdir={tmp_path}', '--model', 'nano', '--topology', 'cpu:8', '--config', 'full']
  )
  assert '1 x 8 x 1 | none' in capsys.readouterr().out


def test_a_method_that_does_not_fit_where_another_did_ends_with_the_fewest_rows(
  monkeypatch, tmp_path, capsys
):
  """Prompt holds more than the adapter, whose mesh it takes: no row fits beside that."""
  made = []

  def compiled(program, limit, quick=False):
    made.append(program.rows)
    more = 90 if len(made) > 9 else 0
    return memory.Memory({'frozen': 50 + more}, 0, 0, 0, 0, 100), None

  monkeypatch.setattr(pieces, 'compiled', compiled)
  monkeypatch.setattr(estimate, 'compiled', compiled)
  monkeypatch.setattr(pieces, 'MOST', 8)
  line = [f'--workdir={tmp_path}', '--model', 'nano', '--topology', 'cpu:8', '--config']
  scale.main([*line, 'adapter'])
  made.extend([0] * 10)
  scale.main([*line, 'adapter', 'prompt'])
  assert '| nano | prompt | cpu:8 | 8 x 1 x 1 | none' in capsys.readouterr().out
  assert made[-1] == 8 and 0 not in made[made.index(0) + 10 :]


def test_without_libtpu_it_is_told_how_to_get_it(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(topology.NoCompiler, match=r'compacter_jax\[tpu\]'):
    topology.find('v5e:2x2')


def command(*flags, timeout=600):
  line = [sys.executable, '-m', 'experiments.plan', f'--config={HERE}/compacter.py', *flags]
  env = os.environ | {'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])}
  return subprocess.run(line, capture_output=True, text=True, env=env, timeout=timeout)


def test_the_command_makes_its_own_devices():
  done = command(
    '--config.model=nano', '--config.batch_size=12', '--topology=cpu:6', '--format=json'
  )
  assert not done.returncode, done.stderr
  told = json.loads(done.stdout)
  assert told['chips'] == 6
  assert [each['name'] for each in told['estimates']] == ['training step', 'decoding']
  assert [each['rows'] for each in told['estimates']] == [12, 132]
  held = told['estimates'][0]['memory']['groups']
  # The best arrays so far, and while it decodes the optimizer's; 8 bytes are of step and seed.
  best = [held['tuned'], held['tuned'] + held['optimizer'] - 8]
  assert [each['memory']['beside'] for each in told['estimates']] == best
  assert all(each['memory']['total'] > each['memory']['beside'] for each in told['estimates'])


def test_the_command_asks_for_a_topology():
  done = command()
  assert done.returncode == 2 and '--topology=v5e:4x4' in done.stderr


compiles_for_tpus = pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None,
  reason='libtpu is not installed: nothing is compiled for TPUs',
)


@compiles_for_tpus
def test_t5_base_is_tuned_on_the_smallest_slice():
  flags = '--config.model=t5-base', '--config.batch_size=64', '--config.dtype=bfloat16'
  done = command(*flags, '--topology=v5e:2x2', '--nolargest', '--format=json')
  assert not done.returncode, done.stderr
  step, decoding = json.loads(done.stdout)['estimates']
  assert step['memory']['fits'] and decoding['memory']['fits']
  cfg = config_of('t5-base')
  assert step['memory']['groups']['frozen'] == pytest.approx(4 * t5.count(cfg), rel=1e-3)
  # Forward, and back for inputs only: 4 FLOP for each weight of the encoder and each id.
  encoder = [np.prod(s) for p, s in shapes(cfg).items() if 'kernel' in p and 'encoder' in p]
  assert 1 <= step['flops'] / (4 * sum(encoder) * 16 * 128) <= 1.5  # 16 rows on each chip
  assert step['roofline']['seconds'] >= step['flops'] / 197e12


@compiles_for_tpus
def test_a_step_is_compiled_for_a_tpu_that_is_not_there():
  flags = '--config.model=nano', '--config.batch_size=16', '--config.mesh.fsdp=2'
  flags += '--config.dtype=bfloat16', '--config.weights_dtype=bfloat16'
  done = command(*flags, '--topology=v5e:2x2', '--nolargest', '--format=json')
  assert not done.returncode, done.stderr
  step, decoding = json.loads(done.stdout)['estimates']
  cfg = config_of('nano')
  # Two bytes each, split in two but for the biases; the norms are trained.
  assert step['memory']['groups']['frozen'] == pytest.approx(t5.count(cfg), rel=0.01)
  assert step['memory']['limit'] == 15.75 * GIB and step['memory']['fits']
  sent = {each['kind']: each['bytes'] for each in step['collectives']}
  # Kernels are fetched forward and back: of each the half that a chip lacks, twice.
  kernels = sum(2 * np.prod(shape) for path, shape in shapes(cfg).items() if 'kernel' in path)
  assert kernels <= sent['all-gather'] <= 1.3 * kernels and 'all-reduce' in sent
  assert step['roofline']['seconds'] > 0 and decoding['traffic'] > 0


@compiles_for_tpus
@pytest.mark.parametrize('name', [f'{c.name}:{s}' for c in chips.CHIPS.values() for s in c.slices])
def test_every_slice_that_is_listed_exists(name):
  found = topology.find(name)
  assert len(found.devices) == np.prod([int(n) for n in name.split(':')[1].split('x')])
  assert found.devices[0].device_kind == found.chip.kind and found.name == name


@compiles_for_tpus
@pytest.mark.parametrize('name', ['v5e:4x4', 'v6e:4x4', 'v5p:2x2x4'])
def test_axes_share_a_dimension_of_the_torus(name):
  devices = topology.find(name).devices
  for each in search.meshes(16):
    mesh = sharding.make_mesh(*dataclasses.astuple(each)[:3], among=devices)
    assert set(mesh.devices.flat) == set(devices)


def test_what_is_published_is_listed():
  assert set(chips.CHIPS) == {'v4', 'v5e', 'v5p', 'v6e'}
  for chip in chips.CHIPS.values():
    assert chip.source.startswith('https://docs.cloud.google.com/tpu/docs/v')
    assert 0.95 < chip.usable / chip.memory < 1.01
