"""The methods that the accuracy benchmark compares, as configs."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from mmengine.config import Config

from benchmarks.pages import ROOT

REGIMES = {
    name: f'configs/eavit/vitmini_{name}.py'
    for name in ('fashion40', 'fashion40_small')
}
OURS = REGIMES['fashion40']


def baseline(method: str, phase: str = '') -> str:
    """The config of a baseline's phase."""
    return f'configs/baselines/{method}_vitmini_fashion40{phase}.py'


def scala(leaf: str = '') -> str:
    """The config of Scala, from random weights, or of an ablation."""
    return f'configs/scala/scala_vitmini_fashion40{leaf}.py'


TIED_HEADS = baseline('hydravit')
# Names in METHODS that the report holds against each other.
DEFAULT, HYDRAVIT, SCALA = 'default', 'hydravit', 'scala'
SCALA_ABLATIONS = ('scala, prefixes', 'scala, one teacher')
ADAPTED = 'scala, pretrained'


def widths(embed_dims: int, heads: int, channels: int) -> dict[str, Any]:
    """A subnet of ViT-mini with the same widths in its six layers."""
    return dict(
        embed_dims=embed_dims,
        num_heads=[heads] * 6,
        feedforward_channels=[channels] * 6,
        head_dims=16,
    )


# The sizes at which a dense network is trained apart.
DENSE = {
    '100%': widths(96, 6, 384),
    '49%': widths(64, 4, 288),
    '19%': widths(48, 2, 144),
    '5%': widths(32, 1, 48),
}
# Half of the others': the whole network gains nothing from more.
DENSE_LR = 2e-3
# Uniform widths over the whole range, the dense ones among them.
CURVE = {
    **DENSE,
    '72%': widths(80, 5, 336),
    '43%': widths(64, 4, 240),
    '30%': widths(48, 3, 240),
    '26%': widths(48, 3, 192),
    '13%': widths(32, 2, 144),
    '10%': widths(32, 2, 96),
}
TIED = {f'{k} heads': widths(16 * k, k, 64 * k) for k in range(2, 7)}
NESTED_FFN = {f'FFN {f}': widths(96, 6, f) for f in (48, 96, 192, 384)}
WHOLE_EMBEDDING = {
    f'{k} heads': widths(96, k, f)
    for k, f in enumerate((48, 144, 192, 240, 336, 384), start=1)
}
# DynaBERT's twelve.
LISTED = {
    f'{width} x {depth}': dict(widths=width, depth=depth)
    for depth in (1.0, 0.75, 0.5)
    for width in (1.0, 0.75, 0.5, 0.25)
}


@dataclass(frozen=True)
class Method:
    """How a method is trained and which of its networks are evaluated.

    Attributes:
        config: Path of the config.
        before: Paths of the configs of earlier phases, each of which begins
            with what the one before has trained.
        options: What it changes in the config.
        subnets: Name to the fields of a subnet.
        curriculum: Which of the config's levels are kept: 'all', the 'last'
            one from the beginning on, or 'none'.
        images: Share of the passes of a run that it trains for, whatever its
            network costs. None: as many as cost the MACs of a run.
    """

    config: str = OURS
    before: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    subnets: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: CURVE
    )
    curriculum: str = 'all'
    images: float | None = None


def _sampler(kind: str, **kwargs: Any) -> dict[str, Any]:
    cfg = dict(type=f'eavit_mm.{kind}', **kwargs)
    return {'model.sampler': dict(cfg, _delete_=True)}


def _dense(name: str) -> Method:
    """A network of fixed widths alone: all that its step trains."""
    subnet = DENSE[name]
    choices = {
        axis: sorted({_first(subnet[axis]), _first(whole)})
        for axis, whole in DENSE['100%'].items()
        if axis != 'head_dims'
    }
    return Method(
        options={
            'model.backbone.space': dict(choices, _delete_=True),
            'optim_wrapper.optimizer.lr': DENSE_LR,
            **_sampler('FixedListSampler', subnets=[subnet]),
        },
        subnets={name: subnet},
        curriculum='none',
        images=1.0,
    )


def _ratios(smallest: str = 'suffix') -> dict[str, dict[str, Any]]:
    """Scala's networks of a quarter to all of the widths."""
    return {
        f'{k}/4': dict(
            widths(24 * k, 6, 96 * k),
            head_dims=4 * k,
            side='prefix' if k > 1 else smallest,
        )
        for k in range(1, 5)
    }


def _apart(name: str) -> Method:
    """One of Scala's networks alone, from random weights as well.

    Costs rise with the square of the width: all four together cost a run.
    """
    subnet = _ratios()[name]
    return Method(
        scala(),
        options={
            'model.distillation': None,
            **_sampler('FixedListSampler', subnets=[subnet]),
        },
        subnets={name: subnet},
        curriculum='none',
        images=16 / (1 + 4 + 9 + 16),
    )


def _first(widths: Any) -> int:
    return widths[0] if isinstance(widths, list) else widths


METHODS = {
    **{f'dense {name}': _dense(name) for name in DENSE},
    HYDRAVIT: Method(TIED_HEADS, subnets=TIED),
    'matformer': Method(baseline('matformer'), subnets=NESTED_FFN),
    'dynabert': Method(
        baseline('dynabert', '_phase2'),
        before=(baseline('dense'), baseline('dynabert')),
        subnets=LISTED,
    ),
    'flextron, phase 1': Method(baseline('flextron'), subnets=WHOLE_EMBEDDING),
    'uniform': Method(options=_sampler('UniformSampler')),
    'shared': Method(options=_sampler('SharedSampler')),
    'stratified': Method(options=_sampler('StratifiedSampler')),
    DEFAULT: Method(),
    'no curriculum': Method(curriculum='last'),
    # From random weights, unlike all above; not so ADAPTED.
    SCALA: Method(scala(), subnets=_ratios()),
    SCALA_ABLATIONS[0]: Method(
        scala('_no_isolation'), subnets=_ratios('prefix')
    ),
    SCALA_ABLATIONS[1]: Method(scala('_no_transfer'), subnets=_ratios()),
    ADAPTED: Method(
        scala(),
        options={
            'model.backbone.init_cfg': dict(
                type='Pretrained',
                checkpoint=str(ROOT / 'configs/vit/vitmini_fashion.pth'),
                prefix='backbone.',
            )
        },
        subnets=_ratios(),
    ),
    **{f'apart {name}': _apart(name) for name in _ratios()},
}


def method_configs(method: Method, regime: str, seed: int) -> list[Config]:
    """The configs of all phases of a run, in order."""
    before = [replace(method, config=p, subnets={}) for p in method.before]
    phases = (*before, method)
    return [method_config(phase, regime, seed) for phase in phases]


def method_config(method: Method, regime: str, seed: int) -> Config:
    """The config of a run's last phase; its length is not settled yet."""
    cfg = read_config(method.config)
    cfg.merge_from_dict(dict(method.options))
    of_regime = read_config(REGIMES[regime])
    for loader in ('train_dataloader', 'val_dataloader'):
        cfg[loader].dataset.parts = of_regime[loader].dataset.parts
    drop_path = of_regime.model.backbone.get('drop_path_rate')
    # Networks alone gain nothing from it.
    if method.images is None and drop_path:
        cfg.model.backbone.drop_path_rate = drop_path
    _set_curriculum(cfg, method.curriculum)
    cfg.randomness.seed = seed
    if method.subnets:  # a phase before the last has its own
        cfg.test_cfg.subnets = {
            name: dict(subnet) for name, subnet in method.subnets.items()
        }
    return cfg


def read_config(path: str) -> Config:
    """A config of this repository; its file is read once."""
    return deepcopy(_read(path))


@cache
def _read(path: str) -> Config:
    return Config.fromfile(ROOT / path)


def _set_curriculum(cfg: Config, kept: str) -> None:
    hooks = []
    for hook in cfg.custom_hooks:
        if hook['type'] == 'eavit_mm.CurriculumHook':
            if kept == 'none':
                continue
            if kept == 'last':
                hook['levels'] = [dict(hook['levels'][-1], begin=0)]
        hooks.append(hook)
    cfg.custom_hooks = hooks
