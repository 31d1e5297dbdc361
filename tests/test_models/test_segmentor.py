"""The elastic segmentor: stock at its largest, trained, used, exported."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from segmentors import (
    CLASSES,
    FLOWS,
    OTHER_SIZE,
    SCALA,
    SIZE,
    SPACE,
    batch_of,
    config,
    outputs,
    segmentor,
)
from steps import (
    DISTIL,
    SANDWICH,
    GradientRecorder,
    assert_gradients,
    gradients,
)
from torch.nn.modules.batchnorm import _BatchNorm
from toys import assert_same_weights, close, random_subnet, snapshot

from eavit_mm.export import dense_network
from eavit_mm.export.directory import Exporter, read_network
from eavit_mm.models.norm_statistics import norm_statistics_of
from eavit_mm.rearrange import ActivationCriterion
from eavit_mm.registry import check_options

pytestmark = pytest.mark.usefixtures('run_seed')
SLIDE = dict(mode='slide', crop_size=SIZE, stride=(8, 12))


@pytest.mark.parametrize('name', FLOWS)
def test_the_largest_is_the_stock_segmentor(name: str) -> None:
    """Weights load strictly both ways."""
    model = segmentor(name, seed=1)
    stock = segmentor(config(name, is_elastic=False))
    assert type(stock) is EncoderDecoder
    assert list(model.state_dict()) == list(stock.state_dict())
    for source, target in ((stock, model), (model, stock)):
        target.load_state_dict(source.state_dict(), strict=True)
        with torch.no_grad():
            for size in (SIZE, OTHER_SIZE):
                close(outputs(model, size), outputs(stock, size), 0.0)
            for p in model.parameters():
                p.mul_(0.9)


@pytest.mark.parametrize('test_cfg', [dict(mode='whole'), SLIDE])
def test_predictions_of_a_subnet_are_the_exported_ones(test_cfg: Any) -> None:
    """At another size than in training, in one piece or in windows."""
    cfg = config('multilevel_uper', test_cfg=test_cfg)
    model = segmentor(deepcopy(cfg))
    subnet = random_subnet(model.backbone.space, 4)
    dense, data = dense_network(model, cfg, subnet), batch_of(0, OTHER_SIZE)
    predicted = []
    for network in (model, dense):
        with torch.no_grad(), model.backbone.use(subnet):
            samples = network.test_step(deepcopy(data))
        predicted.append([s.seg_logits.data for s in samples])
    close(*predicted, 1e-9)


def by_hand(model: Any, data: Any, subnets: Any) -> tuple[float, float]:
    """Trains with the subnets, the largest first; losses, and divergences."""
    x, weights = data['inputs'], model.distillation
    total = learnt = 0.0
    target: Any = None
    for number, subnet in enumerate(subnets):
        with model.backbone.use(subnet):
            losses = model.loss(x, data['data_samples'])
            logits = model.decode_head(model.extract_feat(x))
        loss = sum(v for k, v in losses.items() if 'loss' in k)
        if number:
            logs = target.log_softmax(1), logits.log_softmax(1)
            per_place = (logs[0].exp() * (logs[0] - logs[1])).sum(1)  # B, h, w
            loss = weights.task_weight * loss + per_place.mean()
            learnt += per_place.mean().item()
        else:
            target = logits.detach()
        total += loss.item()
        loss.backward()
    return total, learnt


@pytest.mark.parametrize('size', [SIZE, OTHER_SIZE])
@pytest.mark.parametrize('name', ['multilevel_uper', 'segmenter'])
def test_a_step_distils_each_place(name: str, size: tuple[int, int]) -> None:
    distillation = dict(DISTIL, task_weight=0.5)
    cfg = config(name, sampler=SANDWICH, distillation=distillation)
    model, data = segmentor(cfg), batch_of(1, size)
    twin = deepcopy(model)
    subnets = model.draw_subnets(0)
    assert subnets[0] == model.backbone.space.largest
    recorder = GradientRecorder(model)
    logs = model.train_step(data, recorder)
    total, learnt = by_hand(twin, data, subnets)
    expected = gradients(twin)
    if size != SIZE:  # positions are resized in single precision
        del expected['backbone.pos_embed']
    assert_gradients(recorder.steps[0], expected)
    assert logs['loss'].item() == pytest.approx(total)
    assert logs['distill_loss'].item() == pytest.approx(learnt)
    assert learnt > 0.01
    assert 'decode.acc_seg' in logs
    assert 'forward' not in vars(model.decode_head)


def test_a_checkpoint_of_other_classes_needs_a_new_head() -> None:
    state = segmentor('uper').state_dict()
    other = dict(FLOWS['uper']['decode_head'], num_classes=CLASSES + 1)
    with pytest.raises(ValueError, match='decode_head.conv_seg.weight'):
        segmentor(config('uper', decode_head=other)).load_state_dict(state)
    model = segmentor(config('uper', decode_head=other, new_head=True), 1)
    own = snapshot(model.decode_head)
    model.load_state_dict(state, strict=False)
    assert_same_weights(model.decode_head, own)
    for name in ('backbone.cls_token', 'auxiliary_head.1.conv_seg.weight'):
        assert torch.equal(model.state_dict()[name], state[name])


def test_an_option_that_is_none_is_named() -> None:
    with pytest.raises(
        ValueError, match="model.smapler='a' is no option .*'decode_head'.*"
    ):
        check_options('model', config('fcn', smapler='a'))
    with pytest.raises(ValueError, match=r"valid are \['eavit_mm.ElasticEnco"):
        check_options('model', dict(type='eavit_mm.ElasticEncoderDecodr'))


# UPerHead's pools need the newer exporter, which takes seconds.
@pytest.mark.parametrize(
    ('name', 'opset'),
    [
        ('uper', 20),
        ('setr_pup', 17),
        ('segmenter', 17),
    ],
)
def test_a_folder_of_a_segmentor(name: str, opset: int, tmp_path: Any) -> None:
    """An export compares its files, ONNX too, with the supernet's subnet."""
    cfg = Config(dict(model=config(name), default_scope='mmseg'))
    model = segmentor(deepcopy(cfg.model)).float()
    batch = dict(inputs=batch_of(0, batch=4)['inputs'].float())
    model.norm_batches = lambda: [batch]
    subnet = random_subnet(model.backbone.space, 2)
    exporter = Exporter(model, cfg, formats=('onnx',), opset=opset, rounds=1)
    report = exporter.export(subnet, tmp_path / 'out')
    assert report['macs_of_parts'] == model.macs(subnet)
    assert {*report['max_difference']} == {'model.pth', 'model.onnx'}
    network = read_network(tmp_path / 'out')
    assert type(network) is EncoderDecoder
    assert network.with_auxiliary_head == model.with_auxiliary_head


def norms_of(model: Any) -> list[Any]:
    """Those that run; auxiliary heads do so in training alone."""
    norms = {n: m for n, m in model.named_modules() if 'auxiliary' not in n}
    return [m for m in norms.values() if isinstance(m, _BatchNorm)]


@pytest.mark.parametrize('space', [SPACE, SCALA])
@pytest.mark.parametrize('name', ['fcn', 'pyramid_bn_fpn', 'uper'])
def test_statistics_of_a_subnet(name: str, space: Any) -> None:
    """Those that the exported network has of the same images."""
    cfg = config(name, backbone=dict(space=space))
    model = segmentor(deepcopy(cfg))
    model.decode_head.train()
    subnet = random_subnet(model.backbone.space, 3)
    if space is SCALA:  # a suffix
        subnet = model.backbone.space.smallest
    twin = dense_network(model, cfg, subnet)
    before = snapshot(model)
    modes = [module.training for module in model.modules()]
    batches = [batch_of(number, batch=4) for number in range(3)]
    with norm_statistics_of(model, subnet, batches):
        found = dense_network(model, cfg, subnet)
    assert_same_weights(model, before)
    assert [module.training for module in model.modules()] == modes
    assert {norm.momentum for norm in norms_of(model)} == {0.1}
    assert any(norms_of(twin))
    for norm in norms_of(twin):
        norm.reset_running_stats()
        norm.momentum = None  # torch then averages over all batches
        norm.train()
    with torch.no_grad():
        for batch in batches:
            twin(batch['inputs'])
    for norm in norms_of(twin):
        norm.num_batches_tracked.zero_()
    assert_same_weights(found, snapshot(twin), 1e-9)


def test_calibration_pads_images_and_does_not_mix_them() -> None:
    made = dict(type='SegDataPreProcessor', size=SIZE)
    model = segmentor(config('fcn', data_preprocessor=made)).float()
    model.data_preprocessor.batch_augments = pytest.fail
    batch = batch_of(0)
    for i, sample in enumerate(batch['data_samples']):
        labels = sample.gt_sem_seg.data[:, : 8 + i]
        sample.gt_sem_seg = PixelData(data=labels)
    batch['inputs'] = [x[:, : 8 + i] for i, x in enumerate(batch['inputs'])]
    before = snapshot(model)
    scores = ActivationCriterion().score(model, [batch])
    assert all(values.all() for values in scores.values())
    with norm_statistics_of(model, None, [batch]):
        key = 'decode_head.convs.0.bn.running_mean'
        assert (model.state_dict()[key] != before[key]).all()
    assert model.data_preprocessor.batch_augments is pytest.fail
    with pytest.raises(ValueError, match='at least one batch of data'):
        norm_statistics_of(model, None, iter([])).__enter__()

    without = segmentor('mla_without_neck')
    with norm_statistics_of(without, None, map(pytest.fail, ['a batch read'])):
        pass
