"""tools/export.py, and the stock tools on what it writes."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import mmpretrain
import numpy as np
import pytest
import torch
from fronts import front_of, randomise_vit
from mmengine import load
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmpretrain.apis import FeatureExtractor, ImageClassificationInferencer
from mmpretrain.registry import DATASETS, MODELS
from tool_runs import DIGITS, TOOLS

from eavit_mm import apis
from eavit_mm.engine.calibration import unlabelled_images
from eavit_mm.engine.image_folder import use_image_folder
from eavit_mm.models import BudgetSolver
from eavit_mm.space import Budget, Subnet

torch.set_num_threads(1)

TOOL = TOOLS / 'export.py'
STOCK = Path(mmpretrain.__file__).parent / '.mim' / 'tools'


@pytest.fixture(scope='module')
def model() -> Any:
    """ViT-mini for digits; nothing about it is trained."""
    cfg = Config.fromfile(DIGITS)
    cfg.model.backbone.init_cfg = None
    cfg.model.data_preprocessor = cfg.data_preprocessor
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
    randomise_vit(model)
    model.eval()
    return model


@pytest.fixture(scope='module')
def checkpoint(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('supernet') / 'epoch_1.pth'
    space = model.backbone.space.to_config()
    meta = dict(
        eavit_mm=dict(space=space, rearrangement=None, stage=1),
        dataset_meta=dict(classes=[f'digit {i}' for i in range(10)]),
    )
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path


@pytest.fixture(scope='module')
def exported(model, checkpoint, tmp_path_factory):
    """A folder of the tool, what it printed, and the subnet in it."""
    folder = tmp_path_factory.mktemp('exported')
    subnet = model.backbone.space.uniform(0.4)
    (folder / 'mine.json').write_text(subnet.to_json())
    args = [TOOL, DIGITS, checkpoint, '--out', folder / 'out', '--subnet']
    args += [folder / 'mine.json', '--rounds', '1', '--images', '4']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [*map(str, args)])
        runpy.run_path(str(TOOL), run_name='__main__')
    return folder / 'out', subnet


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def digits() -> list[np.ndarray]:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        data = DATASETS.build(
            dict(type='eavit_mm.Digits', split='test', pipeline=[])
        )
    return [data[i]['img'] for i in range(6)]


def test_a_budget_becomes_a_folder(model, checkpoint, call, capsys, tmp_path):
    args = ('--budget', '0.3', '--part', 'backbone', '--rounds', '1')
    formats = ('--format', 'pt2')
    call(TOOL, DIGITS, checkpoint, *args, *formats, '--out', 'a/out')
    out = tmp_path / 'a' / 'out'
    assert names(out) == [
        'config.py',
        'model.pt2',
        'model.pth',
        'report.json',
        'subnet.json',
    ]
    report = json.loads((out / 'report.json').read_text())
    solver = BudgetSolver(model, part='backbone')
    subnet = solver([Budget.parse(0.3)], 'uniform')
    assert Subnet.from_file(out / 'subnet.json') == subnet
    assert report['macs'] == model.macs(subnet)['total']
    assert report['source']['checkpoint'] == str(checkpoint)
    assert len(report['source']['sha256']) == 64
    assert report['input']['mean'] == pytest.approx([77.8])
    assert names(tmp_path) == ['a']  # no work directory
    text = capsys.readouterr().out
    assert f'{report["macs"]:,} MACs (' in text
    assert 'model.pt2' in text
    assert 'Exported: a/out' in text


def test_a_network_is_corrected_by_training_images(
    model, checkpoint, call, capsys, tmp_path
):
    subnet = model.backbone.space.uniform(0.6)
    subnet = replace(subnet, embed_dims=model.backbone.embed_dims)
    (tmp_path / 'mine.json').write_text(subnet.to_json())
    args = (checkpoint, '--subnet', 'mine.json', '--rounds', '1')
    call(TOOL, DIGITS, *args, '--out', 'out', '--correct', '40')
    made = json.loads((tmp_path / 'out/report.json').read_text())['correction']
    assert made['images'] == 40
    assert made['error'] < made['error_before']
    text = capsys.readouterr().out
    assert f'by 40 images: features off by {made["error"]:.1%}' in text
    cfg = Config.fromfile(DIGITS)
    # Each image of the training data once, in the form of the test data.
    x = unlabelled_images(cfg, model, 40, 'we')
    assert x.shape == (40, 1, *model.backbone.img_size)
    assert len(x.flatten(1).unique(dim=0)) == 40
    assert torch.equal(x, unlabelled_images(cfg, model, 40, 'we'))
    with pytest.raises(
        ValueError, match='we: the training data have 1197 images'
    ):
        unlabelled_images(cfg, model, 10**6, 'we')
    assert len(unlabelled_images(cfg, model, 10**6, 'we', True)) == 1197
    cfg.train_dataloader.dataset.pop('pipeline')
    with pytest.raises(ValueError, match='we needs .* train_dataloader of'):
        unlabelled_images(cfg, model, 40, 'we')


def test_the_inferencer_runs_it(checkpoint, exported, tmp_path):
    out, subnet = exported
    assert json.loads((out / 'report.json').read_text())['images'] == 4
    inferencers = [
        ImageClassificationInferencer(str(out / 'config.py'), pretrained)
        for pretrained in (True, str(out / 'model.pth'))
    ]
    supernet = ImageClassificationInferencer(str(DIGITS), str(checkpoint))
    # A file of a gray image gives what its array gives.
    path = str(tmp_path / 'digit.png')
    cv2.imwrite(path, digits()[0])
    images = [path, *digits()]
    with supernet.model.backbone.use(subnet):
        expected = supernet(images)
    for inferencer in (*inferencers, None):
        found = inferencer(images, batch_size=4) if inferencer else expected
        assert len(found) == 7
        for ours, theirs in zip(
            found, [expected[1], *expected[1:]], strict=True
        ):
            np.testing.assert_allclose(
                ours['pred_scores'], theirs['pred_scores'], atol=1e-5
            )
            assert ours['pred_class'] == f'digit {theirs["pred_label"]}'


def test_the_stock_tool_tests_it(exported, checkpoint, call, tmp_path, capsys):
    out, subnet = exported
    work = ('--work-dir', tmp_path / 'work')
    call(
        STOCK / 'test.py',
        *(out / 'config.py', out / 'model.pth', *work),
        *('--out', tmp_path / 'found.json', '--out-item', 'metrics'),
    )
    found = json.loads((tmp_path / 'found.json').read_text())
    ours = tmp_path / 'ours.json'
    call(
        'test.py',
        *(DIGITS, checkpoint, *work, '--out', ours),
        *('--subnet', out / 'subnet.json'),
    )
    (row,) = json.loads(ours.read_text())['subnets']
    assert row['subnet'] == subnet.to_dict()
    assert found['accuracy/top1'] == row['metrics']['accuracy/top1']


def test_the_stock_tool_trains_it(exported, call, tmp_path):
    out, _ = exported
    work = tmp_path / 'work'
    call(
        STOCK / 'train.py',
        *(out / 'config.py', '--work-dir', work, '--cfg-options'),
        *('train_cfg.max_epochs=1', 'train_cfg.val_interval=1'),
        *('param_scheduler.0.end=1', 'param_scheduler.1.begin=0'),
        *('default_hooks.checkpoint.interval=1',),
    )
    cfg = Config.fromfile(out / 'config.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        network = MODELS.build(cfg.model)
    load_checkpoint(network, str(work / 'epoch_1.pth'), strict=True)
    saved = torch.load(out / 'model.pth', weights_only=True)
    before = saved['state_dict']
    after = network.state_dict()
    # It went on from the exported weights, and everything learned.
    for name, value in before.items():
        assert not torch.equal(after[name], value), name
        assert (after[name] - value).abs().max() < 0.1, name


@pytest.fixture
def folder_config(tmp_path) -> Path:
    """The config of a supernet for gray files in folders of classes."""
    rng = np.random.default_rng(0)
    for i in range(24):
        path = tmp_path / 'images' / 'ab'[i % 2] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (9, 9), np.uint8))
    cfg = Config.fromfile(DIGITS)
    use_image_folder(cfg, tmp_path / 'images')
    path = tmp_path / 'folder.py'
    path.write_text(cfg.pretty_text)
    return path


def test_stock_tools_look_at_data_and_schedules(
    exported, folder_config, call, tmp_path
):
    out, _ = exported
    stage2 = DIGITS.with_name('vitmini_digits_stage2.py')
    show, size = ('--not-show',), ('-d', '64', '-s', 'lr.png')
    for cfg in (DIGITS, out / 'config.py', folder_config):
        to = ('-o', tmp_path / cfg.stem, '-n', '1', '-m', 'original')
        call(STOCK / 'visualization' / 'browse_dataset.py', cfg, *show, *to)
        assert len(names(tmp_path / cfg.stem)) == 1
    for cfg in (DIGITS, stage2, out / 'config.py'):
        Path('lr.png').unlink(missing_ok=True)
        call(STOCK / 'visualization' / 'vis_scheduler.py', cfg, *show, *size)
        assert Path('lr.png').exists()
    call(STOCK / 'misc' / 'verify_dataset.py', folder_config)
    assert not Path('brokenfiles.log').exists()


def test_stock_tools_look_at_networks(
    exported, checkpoint, folder_config, call, tmp_path, monkeypatch
):
    out, subnet = exported
    path = str(next((tmp_path / 'images').rglob('*.png')))
    maps = grad_cam(monkeypatch)
    for cfg, file in (
        (DIGITS, checkpoint),
        (out / 'config.py', out / 'model.pth'),
    ):
        matrix = ('--out', 'matrix.pkl', '--show-path', 'matrix.png')
        tool = STOCK / 'analysis_tools' / 'confusion_matrix.py'
        call(tool, cfg, file, *matrix)
        assert load('matrix.pkl').sum() == 450
        layer = ('--target-layers', 'backbone.layers.5', '--vit-like')
        tool = STOCK / 'visualization' / 'vis_cam.py'
        call(tool, path, cfg, file, *layer, '--save-path', 'cam.png')
        assert cv2.imread('cam.png').shape == (28, 28, 3)
    shapes = [(1, width, 4, 4) for width in (96, subnet.embed_dims)]
    assert [found.shape for found in maps] == shapes
    assert all(found.abs().max() > 0 for found in maps)
    # A supernet for a folder, by the names that the toolbox knows it by.
    assert 'eavit_vitmini_digits' in mmpretrain.list_models('eavit')
    network = mmpretrain.get_model('eavit_vitmini_digits', str(checkpoint))
    network._config = Config.fromfile(folder_config)
    (feature,) = FeatureExtractor(network)(path)[0]
    assert feature.shape == (96,)
    (found,) = ImageClassificationInferencer(network)(path)
    assert found['pred_class'] == f'digit {found["pred_label"]}'
    cfg = network._config
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=None))
    torch.save(model.state_dict(), tmp_path / 'folder.pth')
    ours = apis.load(folder_config, tmp_path / 'folder.pth')
    (found,), (same,) = ours(path), apis.predict(ours, path)
    np.testing.assert_array_equal(found['pred_scores'], same['pred_scores'])


def grad_cam(monkeypatch) -> list[torch.Tensor]:
    """Stands in for the package that vis_cam.py needs; its weights of maps."""
    maps: list[torch.Tensor] = []

    class BaseCAM:
        def __init__(self, model, target_layers, use_cuda):
            self.model, self.target_layers = model, target_layers
            self.activations_and_grads = SimpleNamespace(release=bool)

        def __call__(self, images, *args, **kwargs):
            (layer,) = self.target_layers
            outputs = []
            hook = layer.register_forward_hook(
                lambda *called: outputs.append(called[-1])
            )
            score = self.model(images).max()
            hook.remove()
            (gradient,) = torch.autograd.grad(score, outputs)
            maps.append(self.activations_and_grads.reshape(gradient))
            return np.zeros((1, *images.shape[2:]), np.float32)

    class GradCAM(BaseCAM):
        pass

    def overlay(image, mask, use_rgb):
        return np.uint8(255 * np.broadcast_to(image, (*mask.shape, 3)))

    def follow(model, layers, reshape):
        return SimpleNamespace(reshape=reshape)

    parts = {
        '': dict(
            GradCAMPlusPlus=GradCAM, base_cam=SimpleNamespace(BaseCAM=BaseCAM)
        ),
        '.activations_and_gradients': dict(ActivationsAndGradients=follow),
        '.utils': {},
        '.utils.image': dict(show_cam_on_image=overlay),
    }
    for name, values in parts.items():
        module = ModuleType(f'pytorch_grad_cam{name}')
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return maps


@pytest.fixture
def front(model, tmp_path) -> Path:
    """A pareto.json of two members."""
    path = tmp_path / 'pareto.json'
    path.write_text(json.dumps(front_of(model, 2).to_dict()))
    return path


def test_a_front_becomes_folders_and_a_table(
    model, front, checkpoint, call, capsys, tmp_path
):
    args = (DIGITS, checkpoint, '--pareto', front, '--rounds', '1')
    call(TOOL, *args, '--out', 'out')
    macs = [m['macs'] for m in json.loads(front.read_text())['members']]
    places = [f'{i}_{m}' for i, m in enumerate(macs, 1)]
    assert names(tmp_path / 'out') == [
        *places,
        'table.json',
        'table.png',
        'table.txt',
    ]
    text = capsys.readouterr().out
    assert (tmp_path / 'out' / 'table.txt').read_text().strip() in text
    call(TOOL, *args, '--out', 'out')
    assert f'[2/2] {places[1]}: kept' in capsys.readouterr().out
    # Another supernet's front.
    values = json.loads(front.read_text())
    values['space']['embed_dims'] = [64, 96]
    front.write_text(json.dumps(values))
    with pytest.raises(SystemExit, match=r'pareto\.json: this front is of an'):
        call(TOOL, *args, '--out', 'other')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--budget', 'half'], "budget='half'; must be a share"),
        (['--budget', '0.0001'], 'budget 0.0001: .* this space reaches'),
        (['--budget', '5ms'], 'limit in ms needs a latency table'),
        (['--budget', '0.5', '--part', 'neck'], "part='neck'; this model"),
        (['--budget', '0.5', '--rounds', '0'], '--rounds=0; must be an int'),
        (['--budget', '0.5', '--images', '-1'], '--images=-1; must be an'),
        (['--budget', '0.5', '--device', 'tpu9'], 'device=tpu9: '),
        (['--budget', '0.5', '--opset', '11'], 'opset=11; must be one of'),
        (['--subnet', 'foreign.json'], r'foreign\.json: .*num_heads=13 is ou'),
        (['--subnet', 'empty.json'], r'empty\.json: no JSON'),
        (['--pareto', 'no_such.json'], r'no_such\.json'),
        (['--pareto', 'empty.json'], r'empty\.json: '),
        (['--budget', '0.5', '--out', 'full'], '--out full: holds notes'),
        (['--budget', '0.5', '--out', 'empty.json'], 'must be a folder'),
        (['no_such.pth', '--budget', '0.5'], r'no_such\.pth'),
        (['empty.json', '--budget', '0.5'], r'empty\.json is broken or no'),
        (['empty.pth', '--budget', '0.5'], r'empty\.pth: this checkpoint d'),
    ],
)
def test_bad_input_is_said(checkpoint, call, tmp_path, options, message):
    foreign = Subnet(96, (13,) * 6, (384,) * 6, 16)
    (tmp_path / 'foreign.json').write_text(foreign.to_json())
    (tmp_path / 'empty.json').write_text('')
    torch.save({}, tmp_path / 'empty.pth')
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'notes.txt').write_text('mine')
    before = names(tmp_path)
    out = [] if '--out' in options else ['--out', 'out']
    given = [] if options[0].endswith(('.pth', '.json')) else [checkpoint]
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        call(TOOL, DIGITS, *given, *options, *out)
    assert names(tmp_path) == before


def test_a_model_that_is_not_elastic(checkpoint, call):
    dense = DIGITS.parents[1] / 'vit' / 'vitmini_fashion_pretrain.py'
    with pytest.raises(SystemExit, match='export.py needs an elastic model'):
        call(TOOL, dense, checkpoint, '--budget', '0.5', '--out', 'out')
