"""Files outside of a run: broken ones are named, new ones are whole."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from mmpretrain.registry import MODELS

from eavit_mm.engine.checkpoint import (
    check_space,
    load_supernet,
    read_checkpoint,
    supernet_meta,
)
from eavit_mm.files import write_json
from eavit_mm.space import SearchSpace

from .toys import SPACE, logits, model_cfg, randomise, stock_cfg


class Attack:
    """Runs code when it is unpickled by a careless reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def whole(tmp_path):
    """The bytes of a real checkpoint."""
    model = randomise(MODELS.build(model_cfg()))
    buffer = io.BytesIO()
    torch.save(dict(meta={}, state_dict=model.state_dict()), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize('keep', [0, 5, 300, 0.5, 0.999])
def test_a_truncated_file_is_named(tmp_path, whole, keep):
    path = tmp_path / 'cut.pth'
    size = keep if isinstance(keep, int) else int(keep * len(whole))
    path.write_bytes(whole[:size])
    with pytest.raises(ValueError, match=r'cut\.pth is broken or no checkpo'):
        read_checkpoint(path)


def archive(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as file:
        file.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    'data',
    [
        b'not a checkpoint',
        b'<!DOCTYPE html><html>not found</html>',
        b'version https://git-lfs.github.com/spec/v1\noid sha256:1\n',
        bytes(range(256)) * 8,
        b'\x80\x02',
        b'PK\x03\x04' + b'0' * 99,
        archive('readme.txt', b'hello'),
        archive('archive/data.pkl', b'junk'),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, data):
    path = tmp_path / 'junk.pth'
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r'junk\.pth is (broken|no checkpo)'):
        read_checkpoint(path)


@pytest.mark.parametrize('kind', ['torch', 'pickle'])
def test_no_code_of_a_checkpoint_is_run(tmp_path, kind):
    path, trace = tmp_path / 'evil.pth', tmp_path / 'trace'
    value = dict(state_dict={}, meta=Attack(trace))
    if kind == 'torch':
        torch.save(value, path)
    else:
        path.write_bytes(pickle.dumps(value))
    with pytest.raises(ValueError, match=r'evil\.pth is (refused|broken)'):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize('value', [torch.ones(2), [1, 2], 'text', None])
def test_what_holds_no_weights_is_named(tmp_path, value):
    path = tmp_path / 'other.pth'
    torch.save(value, path)
    with pytest.raises(
        ValueError,
        match=rf'other\.pth is no checkpoint: it holds {type(value).__name__}',
    ):
        read_checkpoint(path)


def test_a_whole_file_is_read(tmp_path, whole):
    path = tmp_path / 'whole.pth'
    path.write_bytes(whole)
    assert set(read_checkpoint(path)) == {'meta', 'state_dict'}


@pytest.mark.parametrize('plain', [True, False])
def test_a_supernet_is_loaded_from_a_stock_file(tmp_path, plain):
    stock = randomise(MODELS.build(stock_cfg()))
    state = stock.state_dict()
    path = tmp_path / 'stock.pth'
    torch.save(state if plain else dict(state_dict=state), path)
    model = MODELS.build(model_cfg())
    assert load_supernet(model, path) == {}
    torch.testing.assert_close(logits(model), logits(stock))


def test_a_supernet_of_another_space_is_refused(tmp_path):
    model = MODELS.build(model_cfg())
    other = model_cfg()
    other['backbone']['space'] = {**SPACE, 'max_off': 0}
    other = randomise(MODELS.build(other))
    meta = dict(epoch=3, eavit_mm=supernet_meta(other, None, 1))
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict=other.state_dict(), meta=meta), path)
    before = logits(model)
    with pytest.raises(
        ValueError, match=r"another space; different are \['max_off'\]"
    ):
        load_supernet(model, path)
    assert torch.equal(logits(model), before)
    assert load_supernet(other, path) == meta


def test_a_supernet_that_does_not_fit_is_refused(tmp_path):
    cfg = model_cfg()
    cfg['head']['num_classes'] = 4
    path = tmp_path / 'four.pth'
    torch.save(
        dict(state_dict=MODELS.build(cfg).state_dict(), meta=None), path
    )
    model = MODELS.build(model_cfg())
    with pytest.raises(
        ValueError, match=r'does not fit.*of another shape: head\.fc\.bias'
    ):
        load_supernet(model, path)


def test_meta_is_read_back(tmp_path):
    model = MODELS.build(model_cfg())
    meta = supernet_meta(model, 'RandomCriterion', 0)
    assert meta['rearrangement'] == 'RandomCriterion'
    assert meta['stage'] == 0
    check_space(model, dict(meta=dict(eavit_mm=meta)))
    check_space(model, {})
    shape = dict(num_layers=2, head_dims=4)
    again = SearchSpace.from_config(
        {k: v for k, v in meta['space'].items() if k not in shape}, **shape
    )
    assert again == model.backbone.space
    path = tmp_path / 'meta.json'
    write_json(meta, path)
    assert json.loads(path.read_text()) == meta
