"""Elastic baselines train what their papers and releases do."""

import json
import re
from collections.abc import Mapping
from functools import cache
from math import floor
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from cls_leaves import CONFIGS, read, run, write_data
from fronts import front_of
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS, TASK_UTILS

from eavit_mm.models import FrozenDistillation
from eavit_mm.space import Level, Subnet
from eavit_mm.space.latency import LatencyTable

# Heads, channels of a head, layers, hidden channels of each network.
SETS = {
    'vitmini_fashion40': (6, 16, 6, 384),
    'vitti_flowers89': (3, 64, 12, 768),
    'vitb_flowers102': (12, 64, 12, 3072),
}
# Of a ViT-Ti; test_configs_leaves.py compares their leaves with the first's.
OTHERS = ('dtd10', 'eurosat', 'btmri', 'cifar100')
each_set = pytest.mark.parametrize('name', SETS)


def leaf(method: str, name: str, phase: str = '') -> Any:
    return read(f'baselines/{method}_{name}{phase}.py')


@cache
def model_of(method: str, name: str, phase: str = '') -> Any:
    """Its shapes alone; no test changes it."""
    cfg = leaf(method, name, phase)
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return MODELS.build(cfg.model)


def widths(
    name: str, heads: float, share: float, embed_dims: int | None = None
) -> Subnet:
    """A network of as many heads and that share of the FFN in each layer."""
    H, D, L, hidden = SETS[name]
    width = H * D if embed_dims is None else embed_dims
    return Subnet(width, (int(heads),) * L, (int(share * hidden),) * L, D)


def hooks_of(cfg: Any) -> dict[str, Any]:
    return {hook.type: hook for hook in cfg.custom_hooks}


# What each trains


@each_set
def test_hydravit_ties_all_to_the_heads(name):
    """K heads, E = k D, FFN in proportion; one at random, task loss."""
    model = model_of('hydravit', name)
    H, D, _, _ = SETS[name]
    first = {6: 2, 3: 1, 12: 3}[H]
    ladder = [widths(name, k, k / H, k * D) for k in range(first, H + 1)]
    steps = [model.draw_subnets(i) for i in range(20 * len(ladder))]
    drawn = [subnet for (subnet,) in steps]
    for subnet in ladder:
        assert 5 < drawn.count(subnet) < 40
    assert set(drawn) == set(model.backbone.space.uniform_ladder)
    assert model.backbone.space.size() == len(ladder)
    assert model.distillation is None
    assert leaf('hydravit', name).custom_hooks == []


@each_set
def test_matformer_trains_four_and_mixes_at_use(name):
    """All of them in a step, under one dropout mask, with the task loss."""
    model = model_of('matformer', name)
    H, _, L, _ = SETS[name]
    four = [widths(name, H, share) for share in (1 / 8, 1 / 4, 1 / 2, 1)]
    for i in range(3):
        assert sorted(model.draw_subnets(i), key=model.backbone.macs) == four
    assert model.backbone.space.size() == 4**L
    assert model.same_dropout
    assert model.distillation is None
    assert leaf('matformer', name).custom_hooks == []


@each_set
def test_flextron_begins_with_random_heads_and_ffns(name):
    """Of each layer, the embedding whole; sorted first, no curriculum."""
    cfg, model = leaf('flextron', name), model_of('flextron', name)
    H, D, L, _ = SETS[name]
    space = model.backbone.space
    assert space.embed_dims == (H * D,)
    choices = len(space.choices('num_heads')), 8
    assert space.size() == (choices[0] * choices[1]) ** L
    drawn = [model.draw_subnets(i) for i in range(3)]
    assert len({tuple(subnets) for subnets in drawn}) == 3
    assert all(len(subnets) == 1 for subnets in drawn)
    (one,) = drawn[0]
    assert min(map(len, (set(one.num_heads), {*one.feedforward_channels}))) > 1
    assert model.distillation is None
    assert [*hooks_of(cfg)] == ['eavit_mm.RearrangeHook']


# Layers that DynaBERT drops, by their number and its depths.
DROPPED: Mapping[int, Mapping[float, set[int]]] = {
    12: {1.0: set(), 0.75: {3, 7, 11}, 0.5: {1, 3, 5, 7, 9, 11}},
    6: {1.0: set(), 0.75: {3, 5}, 0.5: {1, 3, 5}},
}


def dynaberts(name: str, depths: tuple[float, ...]) -> set[Subnet]:
    """Its networks: heads round(w H), a half up, FFN alike."""
    H, D, L, _ = SETS[name]
    found = set()
    for width in (0.25, 0.5, 0.75, 1.0):
        whole = widths(name, floor(width * H + 0.5), width)
        for depth in depths:
            kept = [i not in DROPPED[L][depth] for i in range(L)]
            both = (whole.num_heads, whole.feedforward_channels)
            heads, hidden = (
                tuple(w * on for w, on in zip(axis, kept, strict=True))
                for axis in both
            )
            found.add(Subnet(H * D, heads, hidden, D))
    return found


@each_set
def test_dynabert_has_a_width_and_a_depth_phase(name):
    before, first, second = (
        leaf(*each)
        for each in (
            ('dense', name),
            ('dynabert', name),
            ('dynabert', name, '_phase2'),
        )
    )
    assert before.model.sampler.type == 'eavit_mm.LargestSampler'
    for cfg, found in ((before, first), (first, second)):
        train = cfg.train_cfg
        last = f'epoch_{train.get("max_epochs")}'
        last = last if train.by_epoch else f'iter_{train.max_iters}'
        stem = Path(cfg.filename).stem
        assert found.load_from == f'work_dirs/{stem}/{last}.pth'
    networks = dynaberts(name, (1.0,)), dynaberts(name, (1.0, 0.75, 0.5))
    phases = ('', 0.1), ('_phase2', 1.0)
    for (phase, weight), expected in zip(phases, networks, strict=True):
        cfg, model = (
            leaf('dynabert', name, phase),
            model_of('dynabert', name, phase),
        )
        drawn = model.draw_subnets(5)
        assert (len(drawn), set(drawn)) == (len(expected), expected)
        teacher = model.distillation
        assert type(teacher) is FrozenDistillation
        # A copy of the network that the phase begins with.
        assert teacher.checkpoint is teacher.model is None
        assert teacher.task_weight == 0
        assert teacher.loss_weight == teacher.temperature == 1
        assert teacher.hidden_weight == weight
        assert cfg.optim_wrapper.clip_grad.max_norm == 1
        (hook,) = cfg.custom_hooks
        assert hook.criterion.type == 'eavit_mm.TaylorCriterion'
        assert hook.batch_size == 8
        named = [
            model.backbone.space.resolve(s)
            for s in cfg.test_cfg.subnets.values()
        ]
        assert set(named) <= expected
    # The search measures the twelve, and nothing else.
    sampler = TASK_UTILS.build(second.search_cfg.algorithm.sampler)
    level = Level(model.backbone.space)
    assert set(sampler.draw(level, None, None)) == expected == set(named)


def test_what_fits_into_8_gmacs():
    """Of ViT-B at 224 px, as the papers' networks have it."""
    name, giga = 'vitb_flowers102', 1e9
    hydra, mat = (model_of(m, name) for m in ('hydravit', 'matformer'))
    eight = hydra.macs(widths(name, 8, 8 / 12, 512))['total'] / giga
    assert eight == pytest.approx(7.99, rel=0.01)
    smallest = mat.macs(widths(name, 12, 1 / 8))['total'] / giga
    assert smallest == pytest.approx(7.80, rel=0.01)
    dyna = model_of('dynabert', name, '_phase2')
    macs = dyna.backbone.macs  # blocks alone, as the number is given
    costs = [macs(s, 'paper') / giga for s in dyna.draw_subnets(0)]
    fits = max(cost for cost in costs if cost <= 8)
    assert fits == pytest.approx(6.51, rel=0.01)


# Two iterations of each


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp('data'))


@each_set
@pytest.mark.parametrize('method', ['hydravit', 'matformer'])
def test_two_iterations(tmp_path, data, method, name):
    run(f'baselines/{method}_{name}.py', tmp_path, data)


@each_set
def test_two_iterations_of_each_phase(tmp_path, data, name):
    """One begins with what the other ends with, and learns from it."""
    load_from = None
    kinds = f'dense_{name}', f'dynabert_{name}', f'dynabert_{name}_phase2'
    for kind in kinds:
        path = f'baselines/{kind}.py'
        runner = run(path, tmp_path / kind, data, load_from=load_from)
        if load_from:
            before = torch.load(load_from)['state_dict']
            teacher = runner.model.distillation.teacher.state_dict()
            # The width phase sorts units first; biases of maps out stay.
            key = 'head.fc.bias'
            assert torch.equal(teacher[key], before[key])
            assert not torch.equal(runner.model.state_dict()[key], before[key])
        found = (tmp_path / kind / 'last_checkpoint').read_text()
        load_from = str(tmp_path / kind / Path(found).name)


def times_of(model: Any, path: Path) -> None:
    """A table as tools/latency.py would measure it."""
    vit, (E,) = model.backbone, model.backbone.space.embed_dims
    branches = {
        axis: {E: {w: 0.01 * w for w in vit.space.choices(axis)}}
        for axis in ('num_heads', 'feedforward_channels')
    }
    sizes = vit.geometry.num_tokens, vit.geometry.head_dims
    table = LatencyTable(
        'cpu', 'float32', 1, 1, *sizes, stem={E: 1.0}, **branches
    )
    path.write_text(json.dumps(table.to_dict()))


@each_set
def test_two_iterations_of_flextron(tmp_path, data, name):
    """Phase 1; the router alone (phase 2), then both (phase 3)."""
    name = f'baselines/flextron_{name}.py'
    first = run(name, tmp_path / '1', data).model
    table = tmp_path / 'latency.json'
    times_of(first, table)
    last = (tmp_path / '1' / 'last_checkpoint').read_text()
    changes = {
        'load_from': str(tmp_path / '1' / Path(last).name),
        'model.router.latency_table': str(table),
    }
    name = name.replace('.py', '_phase2.py')
    second = run(name, tmp_path / '2', data, **changes).model
    assert second.router.front is None
    assert second.router.is_ready
    assert [*second.router.costs] == ['latency']
    before, after = (model.state_dict() for model in (first, second))
    assert not torch.equal(before['head.fc.bias'], after['head.fc.bias'])


def test_two_iterations_of_eavit(tmp_path, data):
    """Both stages, on photographs."""
    name = 'eavit/vitti_flowers89.py'
    # Its own draws networks of the real widths.
    uniform = dict(type='eavit_mm.UniformSampler', _delete_=True)
    sampler = {'model.sampler': uniform}
    first = run(name, tmp_path / '1', data, **sampler)
    front_of(first.model).write(tmp_path / 'pareto.json')
    changes = {
        'load_from': str(tmp_path / '1' / 'iter_2.pth'),
        'model.router.front': str(tmp_path / 'pareto.json'),
        'model.router.fit_steps': 5,
        **sampler,
    }
    name = name.replace('.py', '_stage2.py')
    before, after = (
        each.model.state_dict()
        for each in (first, run(name, tmp_path / '2', data, **changes))
    )
    for key in ('head.fc.bias', 'backbone.pos_embed'):
        assert not torch.equal(before[key], after[key])


def listed() -> dict[str, dict[str, Any]]:
    text = (CONFIGS / 'baselines' / 'metafile.yml').read_text()
    return {entry['Config']: entry for entry in yaml.safe_load(text)['Models']}


def test_the_index_has_every_baseline():
    stems = {Path(path).stem for path in listed()}
    # What comes before a last phase is no model of its own.
    first = re.compile(r'dense_|dynabert_.*(?<!_phase2)$')
    # Flextron's last phase is the first's network with a router.
    stems |= {stem + '_phase2' for stem in stems if 'flextron' in stem}
    leaves = {path.stem for path in (CONFIGS / 'baselines').glob('*.py')}
    assert stems == {stem for stem in leaves if not first.match(stem)}
    for name in SETS:
        for method in ('dynabert', 'matformer', 'hydravit', 'flextron'):
            phase = '_phase2' * (method == 'dynabert')
            path = f'configs/baselines/{method}_{name}{phase}.py'
            counts = listed()[path]['Metadata']
            model = model_of(method, name, phase)
            assert counts['Parameters'] == model.params()['total']
            assert counts['FLOPs'] == model.macs()['total']
