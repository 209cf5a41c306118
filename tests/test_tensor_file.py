import contextlib
import gzip
import json
import os
import pickle
import time
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from compacter_jax import tensor_file
from compacter_jax.errors import StorageError, WeightsError

# The library's NumPy loader knows no bfloat16, so that one is compared through its bytes.
LIBRARY = {code: dtype for code, dtype in tensor_file.DTYPES.items() if code != 'BF16'}


@st.composite
def tensors(draw, dtypes):
  out = {}
  for name in draw(st.lists(st.text(st.characters(codec='utf-8'), max_size=12), unique=True)):
    dtype = draw(st.sampled_from(list(dtypes.values())))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    seed = draw(st.integers(0, 2**32 - 1))
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.random.default_rng(seed).integers(0, 2 if dtype.kind == 'b' else 256, size, np.uint8)
    if name != '__metadata__':
      out[name] = raw.view(dtype).reshape(shape)
  return out


def same(a, b):
  assert a.keys() == b.keys()
  for name in a:
    assert (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape)
    assert a[name].tobytes() == b[name].tobytes()


@settings(max_examples=60, deadline=None)
@given(tensors(tensor_file.DTYPES), st.dictionaries(st.text(max_size=4), st.text(max_size=4)))
def test_write_then_read_is_the_identity(tmp_path_factory, given_tensors, metadata):
  path = tmp_path_factory.mktemp('w') / 'x.safetensors'
  tensor_file.write(path, given_tensors, metadata)
  same(tensor_file.read(path), given_tensors)
  assert tensor_file.metadata(path) == metadata
  for entry in tensor_file.header(path).values():
    assert entry.start % entry.dtype.itemsize == 0
  assert [file.name for file in path.parent.iterdir()] == ['x.safetensors']


@settings(max_examples=40, deadline=None)
@given(tensors(LIBRARY))
def test_the_library_reads_what_we_write_and_we_what_it_writes(tmp_path_factory, given_tensors):
  folder = tmp_path_factory.mktemp('x')
  tensor_file.write(folder / 'ours', given_tensors, {'format': 'pt'})
  same(load_file(folder / 'ours'), given_tensors)
  with safe_open(folder / 'ours', 'np') as file:
    assert file.metadata() == {'format': 'pt'}
  save_file(given_tensors, folder / 'theirs')
  same(tensor_file.read(folder / 'theirs'), given_tensors)


def test_equal_tensors_give_equal_bytes_in_any_order(tmp_path):
  a, b = np.ones(3, np.float32), np.ones(3, ml_dtypes.bfloat16)
  lazy = tensor_file.Lazy(a.dtype, a.shape, lambda: a)
  tensor_file.write(tmp_path / 'x', {'a': a, 'b': b}, {'k': 'v'})
  tensor_file.write(tmp_path / 'y', {'b': b, 'a': lazy}, {'k': 'v'})
  assert (tmp_path / 'x').read_bytes() == (tmp_path / 'y').read_bytes()


def test_non_contiguous_tensors_are_written_by_value(tmp_path):
  a = np.arange(12, dtype=np.float32).reshape(3, 4)
  tensor_file.write(tmp_path / 'x', {'t': a.T, 's': a[:, ::2]})
  same(tensor_file.read(tmp_path / 'x'), {'t': a.T, 's': a[:, ::2]})


def test_rows_of_a_tensor_can_be_read_alone(tmp_path):
  a = np.arange(24, dtype=np.int32).reshape(6, 4)
  tensor_file.write(tmp_path / 'x', {'pad': np.zeros(3, np.uint8), 'a': a})
  out = np.empty((2, 4), np.int32)
  with tensor_file.reading(tmp_path / 'x') as file:
    tensor_file.read_into(file, tensor_file.header(tmp_path / 'x')['a'].rows(3, 5), out)
  np.testing.assert_array_equal(out, a[3:5])


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path):
  path = tmp_path / 'x'
  tensor_file.write(path, {'a': np.ones(2)})

  def fail():
    raise OSError(28, 'No space left on device')

  with pytest.raises(StorageError, match='No space left'):
    tensor_file.write(path, {'a': tensor_file.Lazy(np.dtype('f4'), (2,), fail)})
  with pytest.raises(ValueError, match='announced'):
    tensor_file.write(path, {'a': tensor_file.Lazy(np.dtype('f4'), (2,), lambda: np.ones(2))})
  same(tensor_file.read(path), {'a': np.ones(2)})
  assert os.listdir(tmp_path) == ['x']
  with pytest.raises(StorageError):
    tensor_file.write(tmp_path / 'absent' / 'x', {})
  with pytest.raises(ValueError, match='cannot be written'):
    tensor_file.write(path, {'a': np.ones(2, complex)})


def test_a_broken_disk_is_told_though_the_draft_cannot_go(tmp_path, monkeypatch):
  def broken(*args, **kwargs):
    raise OSError(5, 'Input/output error')

  monkeypatch.setattr(os, 'fsync', broken)
  monkeypatch.setattr(Path, 'unlink', broken)
  with pytest.raises(StorageError, match='cannot be written'):
    tensor_file.write(tmp_path / 'x', {'a': np.ones(2)})


class Canary:
  """Whoever unpickles this runs code."""

  def __reduce__(self):
    return os.mkdir, ('canary',)


def npz(path):
  with zipfile.ZipFile(path, 'w') as file:
    file.writestr('data.pkl', pickle.dumps(Canary()))


OTHERS = {
  'empty': lambda path: path.write_bytes(b''),
  'Git LFS': lambda path: path.write_bytes(b'version https://git-lfs.github.com/spec/v1\noid x'),
  'web page': lambda path: path.write_bytes(b'\n<!DOCTYPE html><html></html>'),
  'zip': npz,
  'gzip': lambda path: path.write_bytes(gzip.compress(b'x', mtime=0)),
  'JSON': lambda path: path.write_text('{"weight_map": {}}'),
  'no safetensors': lambda path: path.write_bytes(b'0123456789'),
  'header of': lambda path: path.write_bytes((2**40).to_bytes(8, 'little') + b'{}'),
  'regular file': lambda path: os.mkfifo(path),
  'cannot be read': lambda path: None,
}


@pytest.mark.parametrize('what', OTHERS)
def test_other_files_are_called_what_they_are(tmp_path, what):
  path = tmp_path / 'model.safetensors'
  OTHERS[what](path)
  with pytest.raises(WeightsError, match=what):
    tensor_file.read(path)


@pytest.mark.parametrize('protocol', range(6))
def test_a_pickle_never_runs(tmp_path, monkeypatch, protocol):
  monkeypatch.chdir(tmp_path)
  path = tmp_path / 'model.safetensors'
  path.write_bytes(pickle.dumps(Canary(), protocol=protocol))
  with pytest.raises(WeightsError) as caught:
    tensor_file.read(path)
  assert protocol < 2 or 'weights_only=True' in caught.value.fix
  assert not (tmp_path / 'canary').exists()


def test_a_header_as_long_as_a_pickle_begins_is_read(tmp_path):
  # 0x0280 bytes: the file begins with 80 02, as a pickle of protocol 2 does.
  path = tmp_path / 'x'
  save = lambda pad: tensor_file.write(path, {}, {'pad': ' ' * pad})
  save(0x280 - len('{"__metadata__":{"pad":""}}'))
  assert path.read_bytes()[:2] == b'\x80\x02'
  assert tensor_file.read(path) == {}


def raw(path, text, data=b''):
  text = text if isinstance(text, bytes) else text.encode()
  path.write_bytes(len(text).to_bytes(8, 'little') + text + data)


def tensor(shape=(2,), offsets=(0, 8), dtype='F32'):
  return {'dtype': dtype, 'shape': list(shape), 'data_offsets': list(offsets)}


ONE = json.dumps(tensor())
BAD = {
  'more than once': f'{{"a":{ONE},"a":{ONE}}}',
  'overlaps': json.dumps({'a': tensor(), 'b': tensor(offsets=(4, 12))}),
  'hole': json.dumps({'a': tensor(offsets=(8, 16))}),
  'cut short': json.dumps({'a': tensor((4,), (0, 16))}),
  'after the last': json.dumps({'a': tensor((1,), (0, 4))}),
  'needs 12 bytes': json.dumps({'a': tensor((3,))}),
  'needs 147,573,952,589,676,412,928': json.dumps({'a': tensor((2**65,))}),
  'has dtype': json.dumps({'a': tensor(dtype='F4')}),
  'the shape': json.dumps({'a': tensor((True, 2))}),
  'has the shape': json.dumps({'a': tensor((-2,))}),
  'offsets': json.dumps({'a': tensor(offsets=(0, 8.0))}),
  'described by': json.dumps({'a': {**tensor(), 'code': 1}}),
  'not described': json.dumps({'a': [1]}),
  'more than text': json.dumps({'__metadata__': {'a': 1}}),
  'Expecting': '{"a":}',
  'codec': b'{"\xff":1}',
  'surrogates': f'{{"\\ud800":{ONE}}}',
  'recursion': '{"a":' + '[' * 100_000,
  'digits': '{"a":' + '1' * 5000 + '}',
}


@pytest.mark.parametrize('what', BAD)
def test_a_lying_header_is_refused_with_the_reason(tmp_path, what):
  raw(tmp_path / 'x', BAD[what], b'\0' * 8)
  with pytest.raises(WeightsError, match=what):
    tensor_file.header(tmp_path / 'x')


def test_giant_headers_are_refused_before_they_are_parsed(tmp_path):
  many = {f'{i:x}': tensor((0,), (0, 0)) for i in range(tensor_file.MAX_TENSORS + 1)}
  text = json.dumps(many, separators=(',', ':'))
  started = time.process_time()
  raw(tmp_path / 'x', text)
  with pytest.raises(WeightsError, match='more than 20,000 tensors'):
    tensor_file.header(tmp_path / 'x')
  raw(tmp_path / 'x', text.replace('data_', 'data\\u005f'))
  with pytest.raises(WeightsError, match='more than 20,000 tensors'):
    tensor_file.header(tmp_path / 'x')
  for length in 2**63, 2**64 - 1, 100_000_001, tensor_file.MAX_HEADER + 1:
    (tmp_path / 'x').write_bytes(length.to_bytes(8, 'little') + b'{"a"')
    with pytest.raises(WeightsError, match='header of'):
      tensor_file.header(tmp_path / 'x')
  # Reading 20,001 entries is the slow part here, 0.1 s; a quadratic check would take 10 s.
  assert time.process_time() - started < 3


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_file_is_refused_or_still_has_whole_tensors(tmp_path_factory, data):
  """Any change to the header ends in WeightsError or in tensors inside the file."""
  path = tmp_path_factory.mktemp('m') / 'x'
  tensor_file.write(path, {'a': np.ones((2, 3), np.float32), 'b': np.ones(4, np.uint8)})
  content = bytearray(path.read_bytes())
  length = 8 + int.from_bytes(content[:8], 'little')
  for _ in range(data.draw(st.integers(1, 3))):
    content[data.draw(st.integers(0, length - 1))] = data.draw(st.integers(0, 255))
  if data.draw(st.booleans()):
    content = content[: data.draw(st.integers(0, len(content)))]
  path.write_bytes(content)
  with contextlib.suppress(WeightsError):
    got = tensor_file.read(path)
    assert sum(array.nbytes for array in got.values()) <= 28


def test_every_truncation_is_refused(tmp_path):
  tensor_file.write(tmp_path / 'x', {'a': np.ones((2, 3), np.float32)}, {'k': 'v'})
  content = (tmp_path / 'x').read_bytes()
  for size in range(len(content)):
    (tmp_path / 'y').write_bytes(content[:size])
    with pytest.raises(WeightsError):
      tensor_file.read(tmp_path / 'y')
