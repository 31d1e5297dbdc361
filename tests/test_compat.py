"""Imports with and without mmcv's ops, and what checkpoints may hold."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import save_checkpoint

ROOT = Path(__file__).resolve().parents[1]


def python(code: str, *args: str, path: Path | None = None) -> str:
    """Output of code in a fresh Python; stderr too, so warnings show."""
    folders = [str(folder) for folder in (path, ROOT) if folder]
    folders.append(os.environ['PYTHONPATH'])
    result = subprocess.run(
        [sys.executable, '-c', code, *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(folders)},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def has_compiled_mmcv() -> bool:
    try:
        metadata.version('mmcv')
    except metadata.PackageNotFoundError:
        return False
    return True


def test_import_is_silent_and_light() -> None:
    code = (
        'import sys, eavit_mm.registry; '
        'assert not {"mmpretrain", "mmseg"} & sys.modules.keys()'
    )
    assert python(code) == ''


@pytest.mark.skipif(has_compiled_mmcv(), reason='mmcv has its ops here')
def test_mmseg_imports_and_ops_raise_with_mmcv_lite() -> None:
    """And only a segmentor imports it, which takes time."""
    code = """
import sys
from eavit_mm.registry import MODELS
assert MODELS.get('ElasticImageClassifier')
assert 'mmseg' not in sys.modules
assert MODELS.get('ElasticEncoderDecoder')
import mmseg.models
import torch
from mmcv.ops import nms
try:
    nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except ImportError as error:
    print(error)
"""
    output = python(code)
    assert "mmcv op 'nms' is not compiled here" in output
    assert 'full mmcv: `make env MMCV=full`' in output


@pytest.mark.skipif(not has_compiled_mmcv(), reason='needs the full mmcv')
def test_full_mmcv_is_used() -> None:
    code = """
import sys
import eavit_mm
from eavit_mm.compat import install_mmcv_stand_in
assert not install_mmcv_stand_in()
import mmseg.models
from mmcv.ops import nms
import torch
boxes = torch.tensor([[0., 0., 1., 1.], [0., 0., 1., 1.]])
print(len(nms(boxes, torch.tensor([0.9, 0.8]), 0.5)[1]))
"""
    assert python(code) == '1\n'


def test_stand_in_gives_way_to_a_compiled_extension(tmp_path: Path) -> None:
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').touch()
    (tmp_path / 'mmcv' / '_ext.py').write_text('compiled = True\n')
    code = """
import sys
import eavit_mm
from eavit_mm.compat import install_mmcv_stand_in
assert 'mmcv._ext' not in sys.modules
assert not install_mmcv_stand_in()
import mmcv._ext
print(mmcv._ext.compiled)
"""
    assert python(code, path=tmp_path) == 'True\n'


def test_missing_mmcv_is_named() -> None:
    code = """
import sys
sys.modules['mmcv'] = None
try:
    import eavit_mm
except ImportError as error:
    print(error)
"""
    assert 'eavit_mm needs mmcv: `pip install mmcv-lite' in python(code)


def test_checkpoint_of_mmengine_loads_with_weights_only(
    tmp_path: Path,
) -> None:
    hub = MessageHub('test_environment')
    for loss in (3.0, 1.0, 2.0):
        hub.update_scalar('train/loss', loss)
    file = tmp_path / 'epoch_1.pth'
    weight = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(
        {'state_dict': {'weight': weight}, 'message_hub': hub.state_dict()},
        str(file),
    )
    code = """
import sys
import eavit_mm
import torch
checkpoint = torch.load(sys.argv[1], weights_only=True)
loss = checkpoint['message_hub']['log_scalars']['train/loss']
print(loss.mean(), loss.min(), loss.current())
print(checkpoint['state_dict']['weight'].sum().item())
"""
    assert python(code, str(file)) == '2.0 1.0 2.0\n15.0\n'


class Attack:
    """Pickles as a call of a function."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        function, *args = self.call
        return function, tuple(args)


@pytest.mark.parametrize(
    ('attack', 'words'),
    [
        (Attack(os.system, 'exit 1'), 'system'),
        (Attack(getattr, os.system, '__globals__'), 'system'),
        (Attack(getattr, HistoryBuffer, '__init__'), 'may be read'),
        (Attack(getattr, HistoryBuffer, '_statistics_methods'), 'may be read'),
        (Attack(getattr, 'text', 'mean'), 'may be read'),
    ],
)
def test_other_globals_are_refused(
    tmp_path: Path, attack: Attack, words: str
) -> None:
    import eavit_mm  # noqa: F401

    file = tmp_path / 'attack.pth'
    torch.save({'state_dict': attack}, file)
    with pytest.raises((UnpicklingError, ValueError), match=words):
        torch.load(file, weights_only=True)
