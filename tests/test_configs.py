"""Every leaf config builds, and says what its recipe says."""

import re
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from cls_leaves import CONFIGS, read
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, HOOKS, LOOPS, MODELS, TASK_UTILS
from torch.amp import GradScaler

import eavit_mm  # noqa: F401
from eavit_mm.engine.run_checks import check_keys
from eavit_mm.space import Curriculum
from eavit_mm.space.cost_table import CostTable

torch.set_num_threads(1)

LEAVES = sorted(
    path
    for path in CONFIGS.glob('*/*.py')
    if not path.parent.name.startswith('_')
    # Those of flowers89, but for the data: test_configs_leaves.py.
    and not re.search('vitti_(dtd10|eurosat|btmri|cifar100)', path.name)
    # Those of vitb_flowers, but for the data: test_configs_vitb.py.
    and not re.match('vitb_(?!flowers|upernet|linear)', path.name)
    # More widths, and ablations: test_configs_scala.py.
    and not re.search('scala_.*_(x[0-9]|no_)', path.name)
    # Without training: test_configs_leaves.py, test_snap/test_config.py.
    and path.parent.name != 'snapvit'
)
NAMES = [str(path.relative_to(CONFIGS)) for path in LEAVES]
ELASTIC = [name for name in NAMES if not name.startswith('vit/')]
# What is in segmentors alone is in test_configs_seg.py.
CLASSIFIERS = [
    name
    for name in NAMES
    if not name.startswith('eavit_seg/') and 'ade20k' not in name
]
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# By the closed form of the paper, written out.
KNOWN_MACS = {
    'eavit/vitb_flowers.py': 17_355_276_288,
    'eavit/vitmini_digits.py': 6
    * (2 * 16 * 96 * 384 + 4 * 16 * 96 * 96 + 2 * 16 * 16 * 96),
}


def load(name: str) -> Config:
    cfg = deepcopy(read(name))
    if cfg.model.get('router', {}).get('latency_table'):
        # Flextron's is measured on a user's device.
        cfg.model.router.update(latency_table=None, budgets=['macs'])
    init_default_scope(cfg.default_scope)
    return cfg


@cache
def model_of(name: str) -> Any:
    """Built once: no test changes it. A large one has shapes alone."""
    with torch.device('cpu' if 'mini' in name else 'meta'):
        return MODELS.build(load(name).model)


def hooks_of(cfg: Config) -> dict[str, dict[str, Any]]:
    return {hook['type']: hook for hook in cfg.get('custom_hooks', [])}


def curriculum_of(name: str) -> Curriculum:
    cfg = load(name)
    levels = hooks_of(cfg)['eavit_mm.CurriculumHook']['levels']
    space = model_of(name).backbone.space
    return Curriculum(space, levels, length_of(cfg))


def length_of(cfg: Config) -> int:
    """Length of the training, in epochs or iterations."""
    train = cfg.train_cfg
    return train.max_epochs if train.by_epoch else train.max_iters


@pytest.mark.parametrize('name', NAMES)
def test_a_leaf_is_whole(name):
    cfg = load(name)
    check_keys(cfg)
    # --tta flips images only where a flip is known to keep their labels.
    for part in (cfg.tta_pipeline, cfg.train_dataloader):
        keeps = '40' not in name and 'digits' not in name
        assert ('RandomFlip' in repr(part)) == keeps
    for key in ('model', 'optim_wrapper', 'train_cfg', *LOADERS):
        assert cfg.get(key), key
    is_mmseg = name not in CLASSIFIERS
    assert cfg.default_scope == ('mmseg' if is_mmseg else 'mmpretrain')
    # Stock tools run it: they must import us.
    assert 'eavit_mm' in cfg.custom_imports['imports']
    if 'stage1' in cfg:
        assert (CONFIGS / cfg.stage1).exists()
        place = f'work_dirs/{Path(name).stem}/'
        assert cfg.load_from.startswith(f'{place}stage1/')
        assert cfg.load_from.endswith(f'_{length_of(load(cfg.stage1))}.pth')
        assert cfg.model.router.front == f'{place}search/pareto.json'
    # No device, user or absolute path.
    text = (CONFIGS / name).read_text()
    for word in ('cuda', '/home', '/work', '/root', '/usr'):
        assert word not in text
    ends = [s.get('end') for s in cfg.param_scheduler]
    assert all(e is None or e <= length_of(cfg) for e in ends)
    assert cfg.train_cfg.val_interval <= length_of(cfg)
    # All counts are of the same unit.
    by_epoch = cfg.train_cfg.by_epoch
    assert all(s.by_epoch is by_epoch for s in cfg.param_scheduler)
    assert cfg.default_hooks.checkpoint.get('by_epoch', True) is by_epoch
    assert cfg.get('log_processor', {}).get('by_epoch', True) is by_epoch
    for hook in cfg.get('custom_hooks', []):
        if hook['type'] == 'eavit_mm.CurriculumHook':
            assert hook.get('by_epoch', True) is by_epoch


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_a_model_reads_its_data(name):
    cfg = load(name)
    model = model_of(name)
    classes = cfg.data_preprocessor['num_classes']
    assert model.head.num_classes == classes
    assert model.head.in_channels == model.backbone.embed_dims
    size = model.backbone.img_size
    channels = model.backbone.patch_embed.projection.in_channels
    assert len(cfg.data_preprocessor['mean']) == channels
    if model.backbone.embed_dims < 400:
        device = next(model.parameters()).device
        x = torch.zeros(2, channels, *size, device=device)
        assert model(x, mode='tensor').shape == (2, classes)


@pytest.mark.parametrize('name', NAMES)
def test_every_registered_part_is_known(name):
    cfg = load(name)
    for hook in cfg.get('custom_hooks', []):
        assert HOOKS.build(dict(hook)) is not None
    with HOOKS.switch_scope_and_registry(cfg.default_scope) as hooks:
        for hook in cfg.default_hooks.values():
            assert hooks.get(hook.type) is not None
    for key in ('val_cfg', 'test_cfg'):
        kind = cfg[key].get('type')
        assert kind is None or LOOPS.get(kind) is not None
    sampler = cfg.model.get('sampler')
    assert sampler is None or TASK_UTILS.build(dict(sampler)) is not None


@pytest.mark.parametrize('name', ELASTIC)
def test_the_largest_subnet_is_the_network(name):
    model = model_of(name)
    backbone = model.backbone
    total = sum(
        p.numel()
        for name, p in model.named_parameters()
        if not name.startswith('router.')
    )
    assert model.params()['total'] == total
    assert backbone.space.largest.embed_dims == backbone.embed_dims
    macs = backbone.macs(count='paper')
    if name in KNOWN_MACS:
        assert macs == KNOWN_MACS[name]
    assert macs < backbone.macs() < model.macs()['total']
    assert model.macs()['total'] < 1.12 * macs or name not in CLASSIFIERS
    cheapest = CostTable(backbone.space, backbone.macs).cheapest
    # Nothing teaches frozen networks to be narrow: theirs are less so.
    # MatFormer's attention is whole.
    share = 0.45 if 'matformer' in name else 0.4
    share = 0.7 if backbone.frozen_stages > 0 else share
    assert backbone.macs(cheapest) < share * backbone.macs()


@pytest.mark.parametrize('name', ELASTIC)
def test_the_curriculum_fits_the_space_and_the_training(name):
    cfg = load(name)
    space = model_of(name).backbone.space
    if cfg.model.get('router'):
        # Stage 2 trains the whole space, from its first iteration.
        assert 'eavit_mm.RouterHook' in hooks_of(cfg)
        assert 'eavit_mm.CurriculumHook' not in hooks_of(cfg)
        return
    if 'eavit_mm.CurriculumHook' not in hooks_of(cfg):
        # The control trains the whole network, baselines what they train
        # from the start; a frozen network does not change.
        is_frozen = cfg.model.backbone.get('frozen_stages', -1) > 0
        is_whole = cfg.model.sampler.type == 'eavit_mm.LargestSampler'
        # A segmentor's backbone was trained by Scala before.
        others = name.startswith(('baselines/', 'scala/'))
        assert is_frozen or is_whole or others
        return
    curriculum = curriculum_of(name)
    assert curriculum.levels[0].box.size() == 1
    assert curriculum.levels[-1].box == space
    assert curriculum.begins[-1] < length_of(cfg)
    sizes = [level.box.size() for level in curriculum.levels]
    assert sizes == sorted(sizes)


def test_the_curriculum_of_the_release():
    curriculum = curriculum_of('eavit/vitb_flowers.py')
    assert curriculum.begins == [0, 10, 15, 20, 25, 30, 35]
    ratios = [4, 4, 3, 3, 2, 1, 0.5]
    heads = [12, 11, 10, 9, 8, 7, 6]
    for level, ratio, head in zip(
        curriculum.levels, ratios, heads, strict=True
    ):
        low = level.box.restrict(max_off=0).smallest
        assert low.embed_dims == 64 * head
        assert low.num_heads == (head,) * 12
        assert low.feedforward_channels == (int(768 * ratio),) * 12


def test_the_recipe_of_the_release():
    cfg = load('eavit/vitb_flowers.py')
    assert cfg.train_cfg.max_epochs == 100
    assert cfg.train_dataloader.batch_size == 256
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.dtype == 'bfloat16'
    assert not GradScaler(**cfg.optim_wrapper.loss_scale).is_enabled()
    assert cfg.optim_wrapper.optimizer.type == 'AdamW'
    assert cfg.optim_wrapper.optimizer.lr == 1e-5
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.01
    warmup, cosine = cfg.param_scheduler
    assert warmup.end == cosine.begin == 5
    assert cosine.eta_min == 1e-7
    assert cfg.model.head.loss.label_smooth_val == 0.1
    backbone = model_of('eavit/vitb_flowers.py').backbone
    assert backbone.out_type == 'cls_token'
    assert {m.eps for m in backbone.modules() if hasattr(m, 'eps')} == {1e-5}
    rates = [
        getattr(layer.attn.out_drop, 'drop_prob', 0.0)
        for layer in backbone.layers
    ]
    assert rates[-1] == pytest.approx(0.1)
    assert backbone.space.embed_dims == tuple(range(384, 769, 64))
    assert backbone.space.size() > 1e22


def data_of(loader: dict[str, Any]) -> tuple[dict[str, Any], dict | None]:
    """The data set of a loader, and how it is split."""
    dataset = loader['dataset']
    if dataset['type'] == 'eavit_mm.Split':
        pipeline = dict(pipeline=dataset.pipeline)
        return {**dataset['dataset'], **pipeline}, dataset
    return dataset, None


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_the_test_images_are_out_of_reach(name):
    cfg = load(name)
    (train, cut), (val, held), (test, whole) = (
        data_of(cfg[key]) for key in LOADERS
    )
    # The same data, cut the same way, into parts that differ, or the official
    # ones, in folders.
    for key in ('type', 'data_root'):
        assert train.get(key) == val.get(key) == test.get(key)
    assert whole is None or whole['part'] == 'test'
    if cut is None:
        keys = dict(CustomDataset='data_prefix')
        keys['eavit_mm.ImageFolder'] = 'part'
        key = keys.get(train['type'], 'split')
        official = [data[key] for data in (train, val, test)]
        second = 'search' if key == 'part' else 'val'
        assert official == ['train', second, 'test']
        assert held is None or held['part'] == 'search'
    else:
        assert held['part'] == 'search'
        assert train['split'] == val['split'] in ('train', 'trainval')
        assert test['split'] == ('val' if 'in1k' in name else 'test')
        for key in ('parts', 'seed', 'balanced'):
            assert cut.get(key) == held.get(key)
        assert cut['part'] != 'search'
    # Images are augmented and shuffled to train on, and only there.
    for key, data in zip(LOADERS[1:], (val, test), strict=True):
        steps = [step['type'] for step in data['pipeline']]
        assert not [step for step in steps if 'Random' in step]
        assert cfg[key]['sampler']['shuffle'] is False
    assert cfg.train_dataloader.sampler.shuffle is True


def test_parts_of_digits_are_disjoint():
    cfg = load('eavit/vitmini_digits.py')
    for name in NAMES:
        if 'digits' in name and name in CLASSIFIERS:
            for key in LOADERS:
                assert load(name)[key].dataset == cfg[key].dataset
    ids = []
    for key in LOADERS:
        data = DATASETS.build(dict(cfg[key].dataset))
        found = {data.get_data_info(i)['sample_id'] for i in range(len(data))}
        assert len(found) == len(data)
        ids.append(found)
    assert [len(found) for found in ids] == [1197, 150, 450]
    assert len(set.union(*ids)) == 1797


def test_fashion_keeps_off_what_was_pretrained_on():
    before = load('vit/vitmini_fashion_pretrain.py').train_dataloader.dataset
    after = load('eavit/vitmini_fashion40.py').train_dataloader.dataset
    canvases = load('eavit_seg/vitmini_fashion_seg.py').train_dataloader
    source = canvases.dataset.source
    assert before.part == 'pretrain'
    assert after.part == source.part == 'train'
    for dataset in (before, after, source):
        # Their order says which images are in which.
        assert list(dataset.parts.items()) == list(before.parts.items())
        assert dataset.balanced is False
        assert 'seed' not in dataset
        assert dataset.dataset.split == 'train'


@pytest.mark.parametrize('name', ELASTIC)
def test_the_pretrained_file_of_a_small_network_is_here(name):
    cfg = load(name)
    if cfg.load_from:
        # From a network that was trained before, whose file a user names.
        assert cfg.model.backbone.init_cfg is None
        return
    if name.startswith('scala/') and name in CLASSIFIERS:
        assert not cfg.model.backbone.get('init_cfg')  # trained from scratch
        return
    checkpoint = Path(cfg.model.backbone.init_cfg.checkpoint)
    if 'vitmini' in name:
        state = torch.load(checkpoint, map_location='cpu')['state_dict']
        own = model_of(name).backbone.state_dict()
        del own['pos_embed']  # is resized
        for key, value in own.items():
            assert state[f'backbone.{key}'].shape == value.shape
    else:
        assert not checkpoint.is_absolute()
