"""The tool that converts a file of weights."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from http_folder import serving

from eavit_mm.weights import read_weights

from .foreign import timm_vit
from .toys import assert_same, backbone, classifier, write

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'convert.py'


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*args: Any) -> None:
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
        runpy.run_path(str(TOOL), run_name='__main__')

    return run


def test_tool(convert: Any, tmp_path: Path, capsys: Any) -> None:
    model = timm_vit()
    out = tmp_path / 'new' / 'out.pth'
    convert(write('hub safetensors', model, tmp_path), out)
    text = capsys.readouterr().out
    assert 'head.fc.weight' in text
    assert 'weights in ' in text
    assert [path.name for path in out.parent.iterdir()] == ['out.pth']
    saved = torch.load(out, weights_only=True)
    assert set(saved) == {'meta', 'state_dict'}
    ours = classifier()
    ours.load_state_dict(saved['state_dict'])
    assert_same(ours, model)


def test_a_file_that_is_published(convert: Any, tmp_path: Path) -> None:
    model = timm_vit()
    path, out = write('hub safetensors', model, tmp_path), tmp_path / 'o.pth'
    with serving(tmp_path) as url:
        convert(f'{url}/{path.name}', out)
        with pytest.raises(SystemExit, match='none.npz cannot be fetched'):
            convert(f'{url}/none.npz', tmp_path / 'none.pth')
    ours = classifier()
    ours.load_state_dict(read_weights(out))
    assert_same(ours, model)


def test_options_of_the_tool(convert: Any, tmp_path: Path) -> None:
    source, out = tmp_path / 'source.pth', tmp_path / 'out.pth'
    with pytest.raises(SystemExit, match=r'error: .*source\.pth is not there'):
        convert(source, out)
    torch.save(timm_vit().state_dict(), source)
    with pytest.raises(SystemExit, match='is a folder; name the file to'):
        convert(source, tmp_path)
    convert(source, out, '--head', 'none', '--prefix', '')
    backbone().load_state_dict(read_weights(out))
    convert(source, out, '--head', 'vit', '--prefix', 'encoder.')
    state = read_weights(out)
    assert {'head.layers.head.weight', 'encoder.cls_token'} <= set(state)
    torch.save(timm_vit(img_size=(12, 20)).state_dict(), source)
    with pytest.raises(SystemExit, match='error: pos_embed: 16 rows are of'):
        convert(source, out)
    for said, rows in (('yes', 16), ('no', 17)):
        convert(source, out, '--class-position', said)
        assert read_weights(out)['backbone.pos_embed'].shape[1] == rows
