"""Files of weights, whole, broken and hostile."""

import io
import pickle
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eavit_mm.weights import convert_weights, read_weights

from .foreign import Attack, timm_vit
from .toys import write_state

FORMATS = ['pth', 'bin', 'pt', 'safetensors', 'npz', 'legacy.pth']
ENDLESS: dict[str, Any] = {}
ENDLESS['model'] = ENDLESS


@pytest.mark.parametrize('ending', FORMATS)
def test_every_format(ending: str, tmp_path: Path) -> None:
    state = timm_vit().state_dict()
    path = tmp_path / f'weights.{ending}'
    write_state(state, path)
    read = read_weights(path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[k], w) for k, w in state.items())


def within(prefix: str, state: Any) -> Any:
    return {prefix + name: weight for name, weight in state.items()}


@pytest.mark.parametrize(
    'wrap',
    [
        lambda s: dict(state_dict=s, meta={}),
        lambda s: dict(model=s, epoch=3),
        lambda s: dict(model=s, args=Namespace(lr=0.1)),
        lambda s: dict(teacher=s, student={'x': torch.ones(1)}),
        lambda s: dict(model=dict(state_dict=s)),
        lambda s: dict(model_state_dict=s, optimizer={}),
        lambda s: dict(net=s, epoch=3),
        lambda s: dict(ema_model=dict(module=s)),
        lambda s: within('module.', s),
        lambda s: within('_orig_mod.', s),
        lambda s: dict(teacher=within('module.', s)),
        lambda s: dict(state_dict=within('model._orig_mod.', s)),
        lambda s: dict(state_dict=within('ema_model.module.backbone.', s)),
        lambda s: {k.replace('.1.', '.1._orig_mod.'): w for k, w in s.items()},
        lambda s: {**within('model.', s), 'criterion.weight': torch.ones(9)},
        lambda s: {**s, 'epoch': 3},
    ],
)
def test_wrappers(wrap: Any, tmp_path: Path) -> None:
    state = dict(timm_vit().state_dict())
    path = tmp_path / 'wrapped.pth'
    torch.save(wrap(state), path)
    read, plain = convert_weights(read_weights(path)), convert_weights(state)
    assert read.keys() == plain.keys()
    assert all(torch.equal(read[k], w) for k, w in plain.items())


@pytest.mark.parametrize(
    ('value', 'words'),
    [
        ({}, r'holds no weights; its keys are none'),
        (dict(epoch=3, student={}), r'keys are epoch, student; looked for'),
        (dict(state_dict={}), r'keys are none'),
        ([1, 2], 'holds no weights but list'),
        (torch.ones(2), 'holds no weights but Tensor'),
        (ENDLESS, 'holds no weights'),
    ],
)
def test_files_without_weights(value: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / 'empty.pth'
    torch.save(value, path)
    with pytest.raises(ValueError, match=words):
        read_weights(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'a\.npz is not there'):
        read_weights(tmp_path / 'a.npz')
    with pytest.raises(FileNotFoundError, match='is a folder'):
        read_weights(tmp_path)


@pytest.mark.parametrize('ending', FORMATS)
@pytest.mark.parametrize('keep', [0, 100, 0.6, 0.999])
def test_truncated_files(ending: str, keep: float, tmp_path: Path) -> None:
    path = tmp_path / f'cut.{ending}'
    write_state(timm_vit().state_dict(), path)
    whole = path.read_bytes()
    size = keep if isinstance(keep, int) else int(keep * len(whole))
    path.write_bytes(whole[:size])
    with pytest.raises(ValueError, match=rf'cut\.{ending} is broken or no'):
        read_weights(path)


def lone_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    return buffer.getvalue()


@pytest.mark.parametrize('ending', ['pth', 'npz', 'safetensors'])
@pytest.mark.parametrize(
    'data',
    [
        b'not weights',
        b'{"metadata": {}}',
        b'version https://git-lfs.github.com/spec/v1\noid sha256:1\n',
        b'\x80\x02}q\x00(X\x04',
        b'PK\x03\x04' + b'0' * 99,
        b'\xff' * 64,
        lone_array(),
    ],
)
def test_what_is_no_weights(ending: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f'junk.{ending}'
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf'junk\.{ending} '):
        read_weights(path)


@pytest.mark.parametrize('kind', ['torch', 'legacy', 'pickle'])
@pytest.mark.parametrize('ending', ['pth', 'bin', 'npz', 'safetensors'])
def test_no_code_is_run(kind: str, ending: str, tmp_path: Path) -> None:
    path, trace = tmp_path / f'evil.{ending}', tmp_path / 'trace'
    value = dict(state_dict={'x': torch.ones(2)}, meta=Attack(trace))
    if kind == 'pickle':
        path.write_bytes(pickle.dumps(value))
    else:
        zipped = kind == 'torch'
        torch.save(value, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=rf'evil\.{ending} is ') as error:
        read_weights(path)
    assert not trace.exists()
    # No advice on how to run it all the same.
    assert 'eights_only' not in str(error.value)
    assert 'arbitrary' not in str(error.value)
    if ending in ('pth', 'bin') and kind != 'pickle':
        assert 'is refused: it asks for ' in str(error.value)


def test_no_objects_of_an_npz_are_read(tmp_path: Path) -> None:
    path, trace = tmp_path / 'evil.npz', tmp_path / 'trace'
    np.savez(path, **{'embedding/kernel': np.array([Attack(trace)])})
    with pytest.raises(ValueError, match=r'evil\.npz is broken or no'):
        read_weights(path)
    assert not trace.exists()
    np.savez(path, text=np.array(['a', 'b']))
    with pytest.raises(ValueError, match=r'evil\.npz is broken or no'):
        read_weights(path)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / 'flipped.pth'
    value = torch.arange(500.0)
    torch.save({'a.weight': value}, path)
    data = bytearray(path.read_bytes())
    data[data.index(value.numpy().tobytes()) + 777] ^= 0x10
    path.write_bytes(data)
    # torch does not see it.
    assert not torch.equal(torch.load(path)['a.weight'], value)
    with pytest.raises(
        ValueError, match=r'flipped\.pth is broken .*has changed since'
    ):
        read_weights(path)


def test_a_file_without_sums_is_read(tmp_path: Path) -> None:
    path = tmp_path / 'no_sums.pth'
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({'a.weight': torch.ones(3)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_weights(path)['a.weight'], torch.ones(3))
