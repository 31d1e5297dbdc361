"""Random small classifiers whose axes all have lengths of their own."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

import eavit_mm  # noqa: F401
from eavit_mm.models import Leaf, Reading, register_consumer
from eavit_mm.rearrange import (
    ActivationCriterion,
    MagnitudeCriterion,
    NoCriterion,
    RandomCriterion,
    TaylorCriterion,
)
from eavit_mm.rearrange.criteria import Scores

# Networks this small are slower on more threads.
torch.set_num_threads(1)

CLASSES = 5
CRITERIA = dict(
    activation=ActivationCriterion,
    taylor=TaylorCriterion,
    magnitude=MagnitudeCriterion,
    random=RandomCriterion,
    none=NoCriterion,
)
# mmpretrain makes 24 hidden channels of 32 in a fused SwiGLU.
SWIGLU = dict(ffn_type='swiglu_fused', feedforward_channels=32)
CHANNEL_AXIS = dict(raw=-1, featmap=1, cls_token=-1, avg_featmap=-1)


@MODELS.register_module()
class FirstTokenHead(LinearClsHead):
    """Reads the first token of ``out_type='raw'``."""

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        return feats[-1][:, 0]


register_consumer(FirstTokenHead, lambda head, live: Reading({'fc': Leaf()}))

HEADS = dict(
    linear=dict(type='LinearClsHead'),
    stacked=dict(type='StackedLinearClsHead', mid_channels=[11, 13]),
    vit=dict(type='VisionTransformerClsHead'),
    vit_hidden=dict(type='VisionTransformerClsHead', hidden_dim=15),
)


def build(
    head: dict[str, Any] | None = None,
    neck: dict[str, Any] | None = None,
    seed: int = 0,
    **backbone: Any,
) -> Any:
    """A classifier in float64 whose parameters are all random."""
    arch = dict(
        embed_dims=24, num_layers=3, num_heads=6, feedforward_channels=20
    )
    options: dict[str, Any] = dict(
        arch=arch, img_size=(8, 12), patch_size=4, out_indices=[-1]
    )
    options.update(backbone)
    width = options['arch']['embed_dims']
    model = MODELS.build(
        dict(
            type='eavit_mm.ElasticImageClassifier',
            # The classifier's own makes float32 of every image.
            data_preprocessor=BaseDataPreprocessor(),
            backbone=dict(type='eavit_mm.ElasticVisionTransformer', **options),
            neck=neck,
            head=dict(
                num_classes=CLASSES,
                in_channels=width,
                **(HEADS['linear'] if head is None else head),
            ),
        )
    )
    rng = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=rng)
        is_scale = name.endswith('weight') and parameter.ndim == 1
        spread = 0.4 if parameter.ndim > 1 else 0.3
        parameter.data.copy_(spread * noise + float(is_scale))
    model.eval()
    return model.double()


def draw(seed: int) -> tuple[Any, dict[str, Any]]:
    """A random classifier and the options of its backbone."""
    rng = np.random.default_rng(seed)

    def flip() -> bool:
        return bool(rng.random() < 0.5)

    D, H = int(rng.choice([3, 4, 8])), int(rng.choice([1, 2, 5, 6]))
    L = int(rng.integers(1, 5))
    with_cls_token = flip()
    out_types = ['raw', 'featmap', 'avg_featmap']
    out_type = str(
        rng.choice([*out_types, 'cls_token'] if with_cls_token else out_types)
    )
    options = dict(
        arch=dict(
            embed_dims=D * H,
            num_layers=L,
            num_heads=H,
            feedforward_channels=20,
        ),
        out_indices=[L - 1] if flip() else sorted({0, L - 1}),
        qkv_bias=flip(),
        final_norm=flip(),
        out_type=out_type,
        with_cls_token=with_cls_token,
        layer_scale_init_value=0.5 if flip() else 0.0,
        patch_cfg=dict(norm_cfg=dict(type='LN')) if flip() else {},
        # Layers differ in their hidden channels and in their kind.
        layer_cfgs=[
            SWIGLU
            if rng.random() < 0.3
            else dict(feedforward_channels=int(rng.choice([7, 20, 28])))
            for _ in range(L)
        ],
        pre_norm=flip(),
    )
    neck = None
    if out_type == 'raw':
        head = dict(type='FirstTokenHead')
    elif out_type == 'featmap':
        neck = dict(type='GlobalAveragePooling')
        head = HEADS['linear']
    else:
        head = HEADS[str(rng.choice(list(HEADS)))]
    return build(head, neck, seed, **options), options


def batch_of(seed: int, size: int = 2) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(1000 + seed)
    labels = torch.randint(CLASSES, (size,), generator=rng)
    return dict(
        inputs=torch.randn(size, 3, 8, 12, generator=rng).double(),
        data_samples=[DataSample().set_gt_label(k.item()) for k in labels],
    )


def batches(number: int = 2) -> Iterator[dict[str, Any]]:
    """A stream, as a data loader gives it: it can be read once."""
    yield from (batch_of(seed) for seed in range(number))


def assert_same_scores(
    actual: Scores, expected: Scores, rtol: float = 1e-4
) -> None:
    """Equal up to float32, in which scores are kept."""
    assert actual.keys() == expected.keys()
    for name, vector in expected.items():
        torch.testing.assert_close(
            actual[name].double(),
            vector.double(),
            rtol=rtol,
            atol=1e-7 + rtol * float(vector.abs().mean()),
            msg=lambda text, name=name: f'{name}: {text}',
        )
