"""Scores of self-distillation against a plain loop over images."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from toys import SWIGLU, classifier, images, parts_for

from eavit_mm.models.axes import CHANNELS, ffn_linears
from eavit_mm.rearrange import rearrange
from eavit_mm.rearrange.criteria import Scores, zero_scores
from eavit_mm.snap import FisherCriterion
from eavit_mm.snap.scores import (
    GLOBAL,
    LOCAL,
    FisherScores,
    crop_views,
    draw_boxes,
    fisher_scores,
)
from eavit_mm.space.cells import FFN, HEADS

NETWORKS: dict[str, dict[str, Any]] = dict(
    plain={},
    mean_pool=dict(out_type='avg_featmap', with_cls_token=False),
    map=dict(out_type='featmap', frozen_stages=2),
    tokens=dict(out_type='raw', qkv_bias=False),
    registers=dict(
        out_type='raw', with_cls_token=False, num_register_tokens=2
    ),
    swiglu=dict(layer_cfgs=SWIGLU),
)


def build(network: str = 'plain', seed: int = 4) -> Any:
    backbone = dict(NETWORKS[network], space=None)
    parts = parts_for(backbone.get('out_type', 'cls_token'))
    return classifier(backbone=backbone, seed=seed, **parts)


def batches(*sizes: int) -> list[dict[str, Any]]:
    return [
        dict(inputs=images(size, seed=i).double())
        for i, size in enumerate(sizes)
    ]


def loss_of(model: Any, views: Tensor) -> Tensor:
    """The loss of the views (V, C, h, w) of one image."""
    outputs = [model.backbone(view[None])[-1][0] for view in views]
    if model.backbone.out_type == 'featmap':
        outputs = [output.mean((1, 2)) for output in outputs]
    elif model.backbone.out_type == 'raw':
        has_token = model.backbone.with_cls_token
        outputs = [o[0] if has_token else o[2:].mean(0) for o in outputs]
    outputs = [output / output.norm() for output in outputs]
    return sum(
        F.cross_entropy(student[None], teacher.detach().softmax(0)[None])
        for i, teacher in enumerate(outputs[: GLOBAL[0]])
        for j, student in enumerate(outputs)
        if i != j
    )


def plain_loop(model: Any, released: bool = False) -> Scores:
    """Squared gradients of the weights, image by image."""
    model.eval().requires_grad_(True)
    generator = torch.Generator().manual_seed(7)
    layers = model.backbone.layers
    weights = [layer.attn.qkv.weight for layer in layers]
    weights += [ffn_linears(layer.ffn)[0].weight for layer in layers]
    found, number = [torch.zeros_like(w) for w in weights], 0
    for batch in batches(2, 1):
        views = crop_views(batch['inputs'], generator, released)
        for views_of_one in views:
            gradients = torch.autograd.grad(
                loss_of(model, views_of_one), weights
            )
            for total, gradient in zip(found, gradients, strict=True):
                if released:
                    total += gradient / len(views)
                else:
                    total += gradient**2
            number += 1
    found = [t**2 if released else t / number for t in found]
    scores, channels = {}, 0
    for i, layer in enumerate(layers):
        values = found[i][-24:]  # behind queries and keys
        hidden = ffn_linears(layer.ffn)[1].in_features
        gates = found[len(layers) + i][:hidden]
        scores[HEADS, i] = values.reshape(6, -1).mean(1)
        scores[FFN, i] = gates.mean(1)
        channels += values.sum(0) + gates.sum(0)
    return {CHANNELS: channels, **scores}


@pytest.mark.parametrize(
    ('network', 'released'),
    [*((network, False) for network in NETWORKS), ('plain', True)],
)
def test_scores_are_those_of_a_loop_over_images(network, released):
    criterion = FisherCriterion(seed=7, released=released)
    found = criterion.score(build(network), batches(2, 1))
    expected = plain_loop(build(network), released)
    assert found.keys() == expected.keys()
    for units, scores in expected.items():
        scale = float(scores.max())
        assert scale > 0
        torch.testing.assert_close(
            found[units] / scale, scores / scale, rtol=0, atol=1e-9
        )


def test_batches_do_not_matter():
    x = images(5).double()
    two, five = (
        fisher_scores(build().eval().backbone, x.split(size), seed=7)
        for size in (2, 5)
    )
    for units, scores in five.items():
        torch.testing.assert_close(two[units], scores, rtol=1e-9, atol=0)


def test_they_go_on_to_the_same_bits(tmp_path):
    vit, x = build().eval().backbone, images(5).double()
    whole = fisher_scores(vit, x.split(2), seed=7)
    first = FisherScores(vit, seed=7)
    for part in x[:4].split(2):
        first.add(part)
        torch.save(first.state(), tmp_path / 'sums')
    again = FisherScores(vit, seed=3)
    again.load(torch.load(tmp_path / 'sums', weights_only=True))
    assert again.number == 4
    again.add(x[4:])
    found = again.scores()
    assert all(torch.equal(found[units], s) for units, s in whole.items())


def test_layers_behind_the_last_output_have_no_score():
    vit = classifier(backbone=dict(out_indices=[1])).eval().backbone
    found = fisher_scores(vit, [images(2).double()])
    assert found.keys() == zero_scores(vit).keys()
    for axis in (HEADS, FFN):
        assert found[axis, 1].min() > 0
        assert not found[axis, 2].any()


def test_no_image_is_an_error_and_the_model_stays_as_it_is():
    model = build().train()
    criterion = FisherCriterion()
    with pytest.raises(ValueError, match='FisherCriterion needs at least'):
        criterion.score(model, [])
    with torch.no_grad():  # as in hooks
        criterion.score(model, batches(1))
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    modules = list(model.modules())
    assert not any(module._forward_hooks for module in modules)


def test_sorting_by_the_scores_leaves_the_function_as_it_is():
    model = build('swiglu').eval()
    x = images(2).double()
    before = model(x)
    assert rearrange(model, FisherCriterion(), batches(2))[HEADS, 0].any()
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-9)


# Views


def test_a_view_is_its_crop_made_as_large_as_the_image(monkeypatch):
    boxes = torch.tensor([[0.0, 2, 6, 7], [3, 0, 5, 12]])
    number = GLOBAL[0] + LOCAL[0]
    drawn = iter(boxes[:, None].repeat_interleave(2, dim=0))
    monkeypatch.setattr(
        'eavit_mm.snap.scores.draw_boxes', lambda *args: next(drawn)
    )
    x = images(2).double()
    views = crop_views(x, torch.Generator(), shared=True)
    assert views.shape == (2, number, *x.shape[1:])
    resize = partial(
        F.interpolate, size=x.shape[-2:], mode='bilinear', align_corners=False
    )
    for image, of_one, box in zip(x, views, boxes.int(), strict=True):
        top, left, height, width = box.tolist()
        crop = image[:, top : top + height, left : left + width]
        expected = resize(crop[None])[0]
        for view in of_one:
            # At its rim a crop sees the pixels around it.
            torch.testing.assert_close(
                view[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1]
            )


@pytest.mark.parametrize(
    ('size', 'scale'), [((224, 224), GLOBAL[1]), ((96, 400), LOCAL[1])]
)
def test_boxes_lie_inside_and_show_their_share(size, scale):
    generator = torch.Generator().manual_seed(0)
    boxes = draw_boxes((400, 3), size, scale, generator)
    assert boxes.shape == (400, 3, 4)
    top, left, height, width = boxes.unbind(-1)
    assert min(top.min(), left.min()) >= 0
    assert (top + height).max() <= size[0]
    assert (left + width).max() <= size[1]
    ratio, area = width / height, width * height / (size[0] * size[1])
    assert 0.7 < ratio.min() < 0.8 < 1.25 < ratio.max() < 1.4
    assert scale[0] * 0.95 < area.min() < area.max() < scale[1] * 1.05
    assert abs(area.mean() - sum(scale) / 2) < 0.1 * sum(scale)
    assert len(boxes[:, 0].unique(dim=0)) > 390


@pytest.mark.parametrize(
    ('option', 'words'), [(dict(seed=-1), 'seed'), (dict(released=1), 'rel')]
)
def test_wrong_options_are_named(option, words):
    with pytest.raises(ValueError, match=words):
        FisherCriterion(**option)
