"""Every forward on a GPU that is not there: one device, and no waiting.

What is registered is found here by itself.
"""

from collections.abc import Callable
from copy import deepcopy
from inspect import signature
from typing import Any

import pytest
import torch
from fake_gpu import fake_gpu
from fronts import front_of
from mmengine.dataset import default_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import OptimWrapper
from mmpretrain.evaluation import Accuracy
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.data import DataLoader
from toys import batch_of, classifier, images, member, options, small_vit

from eavit_mm.engine import fitness, kept_data
from eavit_mm.export.dense import dense_network
from eavit_mm.models import Leaf
from eavit_mm.models.consumers import _DESCRIBE, make_elastic
from eavit_mm.models.distillation import Distillation
from eavit_mm.models.gates import decision_gates_of, gates_of
from eavit_mm.models.leaves import LEAVES
from eavit_mm.rearrange import Criterion
from eavit_mm.rearrange.permute import rearrange
from eavit_mm.registry import LATENCY_BACKENDS, TASK_UTILS
from eavit_mm.snap.correct import fit
from eavit_mm.space import SubnetSampler

C, HALF, BRAIN = 24, torch.float16, torch.bfloat16
# Options without a default, by their names.
NEEDED = dict(num_classes=9, in_channels=C, channels=8, mid_channels=[11])
NEEDED['samplers'] = [dict(type='eavit_mm.UniformSampler')]
NEEDED['subnets'] = [member().to_dict()]
for registry in (TASK_UTILS, LATENCY_BACKENDS):
    registry.import_from_location()


def needed(kind: type) -> dict[str, Any]:
    """Options that a class of any registry can be built with."""
    names = {n for c in kind.__mro__ for n in signature(c.__init__).parameters}
    return {name: v for name, v in NEEDED.items() if name in names}


def kinds(base: type) -> list[type]:
    found = TASK_UTILS.module_dict.values()
    return [k for k in found if issubclass(k, base) and 'eavit_mm' in str(k)]


def autocast(dtype: torch.dtype | None) -> torch.autocast:
    return torch.autocast('cuda', dtype, enabled=dtype is not None)


def check(
    vit: Any, run: Callable[[Any], Any], dtype: Any, *others: nn.Module
) -> None:
    """In every manner to run all is on the GPU, and nobody waits."""
    space, subnet = vit.space, member()
    with fake_gpu(vit, *others) as waits:
        x = images().to('cuda')
        chosen = decision_gates_of(space, subnet)
        chosen = tree_map_only(Tensor, lambda t: t.to('cuda'), chosen)
        gates = gates_of(space, chosen)
        waits.places.clear()
        manners = vit.use(None), vit.use(subnet), vit.frozen(subnet)
        for manner in (*manners, vit.gated(gates)):
            with manner, autocast(dtype):
                outputs = tree_leaves(run(vit(x)))
            assert all(out.is_cuda for out in outputs)
        assert not waits.places


def test_the_correction_of_a_subnet() -> None:
    model = classifier(backbone=dict(layer_scale_init_value=0.5)).eval()
    # Fake tensors cannot be copied, as the correction does first.
    with fake_gpu(model), pytest.MonkeyPatch.context() as patch:
        patch.setattr('eavit_mm.snap.correct.deepcopy', lambda copied: copied)
        fixed = fit(model, member(), [images().double().to('cuda')])
        assert all(weight.is_cuda for weight in fixed.parameters())


POOLED = dict(out_type='avg_featmap', with_cls_token=False)


def watch_layout(vit: Any, dtype: torch.dtype | None) -> None:
    """Raises unless layers get rows of tokens: else all of them are slow."""

    def require(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # Without a GPU cuDNN is not taken for convolutions in bfloat16.
        assert inputs[0].is_contiguous() or dtype == BRAIN

    vit.layers[1].register_forward_pre_hook(require)


@pytest.mark.parametrize('dtype', [None, BRAIN, HALF])
def test_every_manner_to_run(dtype: Any) -> None:
    for changes in (dict(out_type='raw'), POOLED):
        vit = small_vit(**changes)
        watch_layout(vit, dtype)
        check(vit, lambda levels: levels, dtype)


@pytest.mark.parametrize(
    'kind', [k for k in _DESCRIBE if "'mmpretrain" in str(k)]
)
def test_every_consumer(kind: type[nn.Module]) -> None:
    is_cls = kind.__module__.startswith('mmpretrain.models.heads')
    vit = small_vit(out_type='cls_token' if is_cls else 'featmap')
    consumer = kind(**needed(kind))
    make_elastic(dict(part=consumer), vit)
    check(vit, consumer, BRAIN, consumer)


@pytest.mark.parametrize('stock', LEAVES)
def test_every_leaf(stock: type[nn.Module]) -> None:
    kind = LEAVES[stock]
    vit = small_vit(out_type='featmap')
    module = stock(C) if len(kind.SIZES) == 1 else stock(C, C, 1)
    leaf = kind.from_stock(module, Leaf(), C, vit.active)

    def run(levels: tuple[Tensor, ...]) -> Tensor:
        x = levels[-1].movedim(1, kind.DIM)
        return leaf(x.mean((2, 3)) if '1d' in stock.__name__ else x)

    check(vit, run, HALF, leaf)


def trained(**changes: Any) -> Any:
    own = dict(mean=[0.0], std=[1.0])
    return classifier(data_preprocessor=own, **changes).float()


def test_what_stays_on_the_cpu_is_found() -> None:
    model = trained()
    with fake_gpu(model):
        model.head.fc.bias = nn.Parameter(torch.zeros(9))
        x = images().to('cuda')
        with pytest.raises(RuntimeError, match='two different devices'):
            model(x)


@pytest.mark.parametrize('kind', kinds(Criterion))
def test_every_criterion(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no backward on a fake GPU.
    monkeypatch.setattr(torch.autograd, 'grad', lambda loss, xs, **_: xs)
    model, batches = trained(), [batch_of(0)]
    with fake_gpu(model):
        rearrange(model, kind(), batches)
    assert model.head.fc.weight.is_cuda


def waits_of_step(model: Any, iteration: int = 0) -> dict[str, int]:
    """All but those of backward, of the optimizer and of the data."""
    data, seen = batch_of(0), []
    teacher = getattr(model.distillation, 'teacher', None) or model
    with fake_gpu(model, teacher) as waits:
        wrapper: Any = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
        wrapper.step = lambda *args: None
        # A GPU works on the last one while the host goes on.
        wrapper.backward = lambda *args: seen.append(dict(waits.places))
        wrapper.optim_context = lambda model: autocast(BRAIN)
        for _ in range(2):
            wrapper._inner_count = iteration
            waits.places.clear()  # of what is made once
            logs = model.train_step(data, wrapper)
            assert waits.places == seen[-1]
            # Hooks read all of them in each step.
            assert not any(value.is_cuda for value in logs.values())
    del waits.places['data_preprocessor']
    return waits.places


@pytest.mark.parametrize('kind', kinds(SubnetSampler) + kinds(Distillation))
def test_a_step_waits_once(kind: type) -> None:
    part = dict(needed(kind), type=f'eavit_mm.{kind.__name__}')
    if issubclass(kind, SubnetSampler):
        model = trained(sampler=part)
    else:
        if not kind.hands_on:  # which compares no hidden states
            part['hidden_weight'] = 1.0
        model = trained(distillation=part)
        model.distillation.teacher = deepcopy(model)
    assert waits_of_step(model) == dict(elastic_step=1)


@pytest.mark.parametrize('is_gated', [True, False])
def test_a_router_waits_for_each_choice(is_gated: bool) -> None:
    router = dict(type='eavit_mm.RouterHead', gated_every=2, passes=3)
    model = trained(router=router)
    model.router.set_front(front_of(model))
    chosen = dict(gates=3) if is_gated else dict(router_groups=3)
    waits = waits_of_step(model, int(not is_gated))
    assert waits == dict(elastic_step=1, **chosen)


def test_an_evaluation_moves_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_data, '_fits', lambda *memory: True)
    batch, model = batch_of(0), trained().eval()
    pairs = zip(batch['inputs'], batch['data_samples'], strict=True)
    items: Any = [dict(inputs=x, data_samples=label) for x, label in pairs]
    loader = DataLoader(items, 1, collate_fn=default_collate)
    evaluator = Evaluator([Accuracy(topk=(1,))])
    with fake_gpu(model) as waits:
        evaluate = fitness.Fitness(model, loader, evaluator, 'accuracy/top1')
        waits.places.clear()
        evaluate(member(), 'bfloat16')
    assert waits.places == dict(fitness=2)  # finite? and the scores


@pytest.mark.parametrize('dtype', [torch.float32, BRAIN, HALF])
def test_exported_and_measured_networks(dtype: torch.dtype) -> None:
    model = classifier(backbone=POOLED).to(dtype).eval()
    head = dict(type='LinearClsHead', num_classes=9, in_channels=C)
    parts = dict(backbone=options(**POOLED), head=head)
    network = dense_network(model, parts, member())
    watch_layout(network.backbone, dtype)
    backends = {**LATENCY_BACKENDS.module_dict}
    del backends['onnxruntime']  # for the CPU alone, as it says
    with fake_gpu(model, network) as waits:
        x = images().to('cuda', dtype)
        assert network(x).dtype == dtype
        for run in backends.values():
            around, call = run(model, member(), x)
            with around():
                assert call().is_cuda
        assert not waits.places
