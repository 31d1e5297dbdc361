"""Leaves of consumers behind backbones of another width, or half precision."""

from contextlib import nullcontext

import pytest
import torch
from toys import classifier, images, member

from eavit_mm.models.gates import decision_gates_of, gates_of

CHANNELS = 24
POOL = dict(type='GlobalAveragePooling')


@pytest.mark.parametrize('widths', [24, 14])
@pytest.mark.parametrize('is_gated', [False, True])
def test_features_of_another_width_are_refused(
    widths: int, is_gated: bool
) -> None:
    """A pool over the wrong axis leaves the head one number for a token."""
    model = classifier(backbone=dict(out_type='raw'), neck=POOL)
    vit = model.backbone
    gates = gates_of(vit.space, decision_gates_of(vit.space, member(widths)))
    context = vit.gated(gates) if is_gated else vit.use(member(widths))
    with context, pytest.raises(RuntimeError, match='shape|size'):
        model(images().double())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('with_amp', [False, True])
def test_gated_in_half_precision(dtype: torch.dtype, with_amp: bool) -> None:
    model = classifier(backbone=dict(out_type='featmap'), neck=POOL)
    model.float().eval()
    vit = model.backbone
    gates = gates_of(vit.space, decision_gates_of(vit.space, member()))
    with torch.no_grad():
        with vit.use(member()):
            expected = model(images())
        x = images()
        if not with_amp:
            model, x = model.to(dtype), x.to(dtype)
        around = torch.autocast('cpu', dtype) if with_amp else nullcontext()
        with vit.gated(gates), around:
            out = model(x)
    assert out.dtype == dtype
    assert (out.float() - expected).norm() < 3e-2 * expected.norm()
