"""The elastic segmentor: stock at its largest, trained, used, exported."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmseg.models.segmentors import EncoderDecoder
from segmentors import (
    CLASSES,
    FLOWS,
    OTHER_SIZE,
    SIZE,
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
from toys import close, images, random_subnet

from eavit_mm.export import dense_network
from eavit_mm.export.directory import Exporter, read_network
from eavit_mm.models.norm_statistics import norm_statistics_of
from eavit_mm.registry import check_options

pytestmark = pytest.mark.usefixtures('run_seed')
SLIDE = dict(mode='slide', crop_size=SIZE, stride=(8, 12))


@pytest.mark.parametrize('name', FLOWS)
def test_the_largest_is_the_stock_segmentor(name: str) -> None:
    model, stock = (
        segmentor(config(name, is_elastic=bool(seed)), seed) for seed in (1, 0)
    )
    assert type(stock) is EncoderDecoder
    assert list(model.state_dict()) == list(stock.state_dict())
    for source, target in ((stock, model), (model, stock)):
        target.load_state_dict(source.state_dict(), strict=True)
        for size in (SIZE, OTHER_SIZE):
            x = images(2, size).double()
            with torch.no_grad():
                close(outputs(model, x), outputs(stock, x), 0.0)
        with torch.no_grad():
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
        assert samples[0].pred_sem_seg.data.shape == (1, *OTHER_SIZE)
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
    heads = {
        **FLOWS['uper'],
        'decode_head': dict(FLOWS['uper']['decode_head']),
    }
    heads['decode_head']['num_classes'] = CLASSES + 1
    with pytest.raises(ValueError, match='decode_head.conv_seg.weight'):
        segmentor(config(heads)).load_state_dict(dict(state))
    model = segmentor(config(heads, new_head=True))
    own = model.decode_head.conv_seg.weight.clone()
    model.load_state_dict(dict(state), strict=False)
    assert torch.equal(model.decode_head.conv_seg.weight, own)
    for name in ('backbone.cls_token', 'auxiliary_head.1.conv_seg.weight'):
        assert torch.equal(model.state_dict()[name], state[name])


def test_an_option_that_is_none_is_named() -> None:
    with pytest.raises(
        ValueError, match="model.smapler='a' is no option .*'decode_head'.*"
    ):
        check_options('model', config('fcn', smapler='a'))
    with pytest.raises(ValueError, match=r"valid are \['eavit_mm.ElasticEnco"):
        check_options('model', dict(type='eavit_mm.ElasticEncoderDecodr'))


def test_a_folder_of_a_segmentor(tmp_path: Any) -> None:
    """Export certifies what it writes: outputs, parameters, bytes."""
    cfg = Config(dict(model=config('uper'), default_scope='mmseg'))
    model = segmentor(deepcopy(cfg.model)).float()
    subnet = random_subnet(model.backbone.space, 2)
    exporter = Exporter(model, cfg, formats=('pth',), rounds=1)
    report = exporter.export(subnet, tmp_path / 'out')
    assert report['macs_of_parts'] == model.macs(subnet)
    network = read_network(tmp_path / 'out')
    assert type(network) is EncoderDecoder
    assert len(network.auxiliary_head) == 2
    x = images(2, OTHER_SIZE)
    with torch.no_grad(), model.backbone.use(subnet):
        expected = model(x)
        close([network(x)], [expected], 1e-4 * expected.abs().max().item())


@pytest.mark.parametrize('name', ['fcn', 'pyramid_bn_fpn'])
def test_statistics_of_a_subnet(name: str) -> None:
    """Those that the exported network has of the same images."""
    cfg = config(name)
    model = segmentor(deepcopy(cfg))
    model.decode_head.train()
    subnet = random_subnet(model.backbone.space, 3)
    batches = [batch_of(number, batch=4) for number in range(3)]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    with norm_statistics_of(model, subnet, batches):
        dense = dense_network(model, cfg, subnet)
        changed = [
            k for k, v in model.state_dict().items() if (v != before[k]).any()
        ]
    assert all('running' in k or 'num_batches' in k for k in changed)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert [module.training for module in model.modules()] == modes
    seen: dict[str, list[Any]] = {}

    def note(key: str) -> Any:
        def hook(module: Any, inputs: Any) -> None:
            x = inputs[0].transpose(0, 1).flatten(1)
            seen.setdefault(key, []).append((x.mean(1), x.var(1)))

        return hook

    norms = {
        key: module
        for key, module in dense.named_modules()
        if hasattr(module, 'running_mean')
    }
    assert len(norms) == (1 if name == 'pyramid_bn_fpn' else 3)
    for key, module in norms.items():
        module.register_forward_pre_hook(note(key))
        module.train()
    with torch.no_grad():
        expected = deepcopy(norms)
        for batch in batches:
            dense(batch['inputs'])
    for key, module in expected.items():
        means, variances = (
            torch.stack(each) for each in zip(*seen[key], strict=True)
        )
        close([module.running_mean], [means.mean(0)], 1e-9)
        close([module.running_var], [variances.mean(0)], 1e-9)


def test_no_batch_is_read_without_statistics() -> None:
    model = segmentor('mla_without_neck')
    with norm_statistics_of(model, None, map(pytest.fail, ['read'])):
        pass
