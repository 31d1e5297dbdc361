"""What makes a stock model elastic: which subnets a training step trains."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import get_rank
from mmengine.logging import MessageHub, print_log
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from eavit_mm.models.budget_solver import BudgetSolver, cost_of, table_for
from eavit_mm.models.consumers import (
    Count,
    count_consumers,
    leaves_of,
    make_elastic,
)
from eavit_mm.models.distillation import Distillation
from eavit_mm.models.elastic_step import Pass, elastic_step
from eavit_mm.models.elastic_vit import ElasticVisionTransformer
from eavit_mm.models.norm_statistics import norm_statistics_of
from eavit_mm.models.router import Route, RouterHead
from eavit_mm.options import check_flag, check_mapping, check_path
from eavit_mm.registry import MODELS, build_part
from eavit_mm.space import Budget, Level, Subnet, SubnetSampler
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.pareto import COSTS
from eavit_mm.weights.state_dict import (
    adapt_vit_state,
    check_state_dict,
    unwrap_state,
)


class ElasticModelMixin(BaseModel):
    """Turns a stock model with an elastic backbone into a supernet.

    Stands in front of the stock class; adds arguments, keeps its own.

    Args:
        *args: Those of the stock model.
        sampler: Config of the sampler of a step's subnets.
        distillation: Config of what subnets learn from a teacher; None:
            nothing.
        router: Config of a :class:`eavit_mm.models.RouterHead`, which then
            chooses the subnets of a step; None: the sampler does.
        new_head: The task is not the checkpoint's: a head in it that does
            not fit is left out, and none need be in it. Otherwise that is an
            error.
        draw_per_rank: Each rank draws subnets of its own; all the same by
            default.
        same_dropout: All passes of a step begin with the same random
            numbers (MatFormer's ViT): they drop the same paths, if no branch
            is off and ``drop_rate`` is 0. Else other networks use up other
            amounts of numbers, and masks differ.
        **kwargs: Those of the stock model.

    Raises:
        ValueError: If the backbone is not elastic, images are normalised for
            another number of channels, or a neck or head reads its features
            in a way that is not known.
    """

    backbone: ElasticVisionTransformer

    def __init__(
        self,
        *args: Any,
        sampler: Mapping[str, Any] | None = None,
        distillation: Mapping[str, Any] | None = None,
        router: Mapping[str, Any] | None = None,
        new_head: bool = False,
        draw_per_rank: bool = False,
        same_dropout: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.backbone, ElasticVisionTransformer):
            raise ValueError(
                f'backbone {type(self.backbone).__name__} is not elastic; '
                "use type='eavit_mm.ElasticVisionTransformer'"
            )
        _check_channels(self)
        make_elastic(self.consumers, self.backbone)
        self._consumer_counts: dict[Any, dict[str, Count]] = {}
        if sampler is None:
            sampler = dict(type='eavit_mm.UniformSampler')
        self.sampler = build_part('sampler', sampler, SubnetSampler)
        self.distillation: Any = None
        if distillation is not None:
            self.distillation = build_part(
                'distillation', distillation, Distillation
            )
            if self.logits_module is None:
                raise ValueError('distillation needs a model with a head')
        check_flag('new_head', new_head)
        check_flag('draw_per_rank', draw_per_rank)
        check_flag('same_dropout', same_dropout)
        self.new_head = new_head
        self.draw_per_rank = draw_per_rank
        self.same_dropout = same_dropout
        self.router = None if router is None else _build_router(self, router)
        # From which iteration on draws keep to which level; the whole space.
        # A constant of the run, which only CurriculumHook knows.
        self.levels = [(0, Level(self.backbone.space))]
        # Gives training data for the statistics of BatchNorms, if asked.
        self.norm_batches: Callable[[], Iterable[Any]] = tuple
        # These, where weights stay as they are; None: estimated each time.
        self.norm_statistics: dict[Any, Any] | None = None
        for part in (self.backbone, *self.consumers.values()):
            untyped: Any = part
            untyped.register_load_state_dict_pre_hook(_note_loading)
        # A sampler whose subnets are not in the space fails here already.
        self.draw_subnets(0)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Puts a part in its place, with elastic leaves.

        Conversions to SyncBatchNorm and back, torch's and mmengine's, make
        new norms inside of a part and then put it back by this.
        """
        super().add_module(name, module)
        if name in {key.partition('.')[0] for key in self.consumers}:
            make_elastic(self.consumers, self.backbone)

    # What a model of a task provides

    # Names of the modules that ``new_head`` is about.
    head_names: tuple[str, ...]

    @property
    def consumers(self) -> dict[str, nn.Module]:
        """What reads the backbone's features: names to modules, in order."""
        raise NotImplementedError

    @property
    def logits_module(self) -> nn.Module | None:
        """The module whose forward gives the logits, if there is one."""
        raise NotImplementedError

    # Cost

    def macs(
        self, subnet: Subnet | None = None, count: str = 'exact'
    ) -> dict[str, int]:
        """Multiply-adds for one image, in 'backbone', ..., 'total'.

        Args:
            subnet: None for the largest.
            count: 'exact', or 'paper': blocks of the backbone only.
        """
        subnet = subnet or self.backbone.space.largest
        parts = {'backbone': self.backbone.macs(subnet, count)}
        for name, cost in self._count_consumers(subnet.embed_dims).items():
            parts[name] = cost.macs if count == 'exact' else 0
        return {**parts, 'total': sum(parts.values())}

    def params(self, subnet: Subnet | None = None) -> dict[str, int]:
        """Parameters of a subnet as a network of its own, likewise."""
        subnet = subnet or self.backbone.space.largest
        parts = {'backbone': self.backbone.params(subnet)}
        for name, cost in self._count_consumers(subnet.embed_dims).items():
            parts[name] = cost.params
        return {**parts, 'total': sum(parts.values())}

    def _count_consumers(self, width: int) -> dict[str, Count]:
        """Costs of necks and heads, counted once for each width."""
        # A head may be replaced by another one.
        key = (width, *self.consumers.values())
        if key not in self._consumer_counts:
            features = self.backbone.empty_features(width)
            counts = count_consumers(self.consumers, features)
            self._consumer_counts[key] = counts
        return self._consumer_counts[key]

    # Use

    @contextmanager
    def evaluating(self, subnet: Subnet | None) -> Iterator[None]:
        """``backbone.frozen``, with a subnet's own statistics of BatchNorms.

        Raises:
            ValueError: If there is a BatchNorm, and no ``norm_batches``.
        """
        batches, kept = self.norm_batches(), self.norm_statistics
        own = norm_statistics_of(self, subnet, batches, kept)
        with own, self.backbone.frozen(subnet):
            yield

    def subnet_for(
        self,
        *budgets: str | float,
        by: str | None = None,
        part: str | None = None,
        latency_table: str | Path | None = None,
        front: str | Path | None = None,
    ) -> Subnet:
        """The subnet for a budget.

        Args:
            *budgets: Such as '50%', '8GMACs', '20Mparams', '5ms'; several at
                once, or none for the largest subnet.
            by: Who chooses; see :class:`eavit_mm.models.BudgetSolver`.
            part: What is limited, if not the part that the router learnt.
            latency_table: File of a table, for milliseconds.
            front: File of a Pareto front, to answer.

        Raises:
            ValueError: If a budget is none, or cannot be reached.
        """
        if not budgets:
            return self.backbone.space.largest
        limits = [Budget.parse(budget) for budget in budgets]
        files: Any = dict(table=latency_table, front=front)
        return BudgetSolver(self, part=part, **files)(limits, by)

    def set_budget(self, *budgets: str | float, **kwargs: Any) -> Subnet:
        """Makes :meth:`subnet_for` the active subnet until further notice.

        Example:
            >>> model.set_budget('8GMACs')
            >>> model.set_budget(0.5)
        """
        subnet = self.subnet_for(*budgets, **kwargs)
        self.backbone.set_subnet(subnet)
        return subnet

    # Training

    def calibration_data(self, batch: Any) -> Any:
        """A batch of the training data: padded as there, but not mixed."""
        preprocessor: Any = self.data_preprocessor
        augments = getattr(preprocessor, 'batch_augments', None)
        preprocessor.batch_augments = None  # such as Mixup
        try:
            return preprocessor(batch, True)
        finally:
            preprocessor.batch_augments = augments

    def level_at(self, iteration: int) -> Level:
        """What the curriculum lets the sampler draw in an iteration."""
        begun = (level for begin, level in self.levels if begin <= iteration)
        return list(begun)[-1]

    def draw_subnets(self, iteration: int) -> list[Subnet]:
        """The sampler's subnets of a step.

        A function of the run's seed and the iteration (data batches trained
        on before), and of the rank where each draws its own.
        """
        rng = np.random.default_rng(self._stream(iteration))
        level = self.level_at(iteration)
        return self.sampler.draw(level, self.backbone.macs, rng)

    def draw_passes(self, iteration: int) -> list[Pass]:
        """What a step trains: the router's choices, or the sampler's."""
        if self.router is None:
            return [Pass(subnet) for subnet in self.draw_subnets(iteration)]
        routes = self.router.draw(self._stream(iteration), iteration)
        return [Pass(route.subnet, route) for route in routes]

    def _stream(self, iteration: int) -> list[int]:
        """Seed of what a step draws."""
        seed = MessageHub.get_current_instance().get_info('seed') or 0
        return [seed, iteration, get_rank() if self.draw_per_rank else 0]

    def forward(
        self, *args: Any, route: Route | None = None, **kwargs: Any
    ) -> Any:
        """The stock forward; the losses of a route are added to its own.

        Raises:
            RuntimeError: If the whole network is trained outside of
                :func:`elastic_step`, as a stock distributed wrapper does.
        """
        mode = kwargs.get('mode', args[2] if len(args) > 2 else 'tensor')
        if mode == 'loss' and self.training and self.backbone.subnet is None:
            raise RuntimeError(
                'the loss of a supernet in training mode was asked for '
                'without a subnet: something bypasses elastic_step (a stock '
                'distributed wrapper does). Train through train_step, or '
                'choose one with model.backbone.use(subnet).'
            )
        outputs = super().forward(*args, **kwargs)
        if route is None or self.router is None:
            return outputs
        return {**outputs, **self.router.losses(route, outputs)}

    def train_step(
        self, data: Any, optim_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Trains the subnets of one step; see :func:`elastic_step`."""
        return elastic_step(self, self, data, optim_wrapper)

    # Loading

    @property
    def backbone_was_loaded(self) -> bool:
        """Whether the backbone's weights came from a checkpoint."""
        return bool(getattr(self.backbone, 'was_loaded', False))

    @property
    def head_was_loaded(self) -> bool:
        """Whether the consumers' weights came from a checkpoint."""
        return all(
            getattr(consumer, 'was_loaded', False)
            for consumer in self.consumers.values()
            if leaves_of(consumer)
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        """Checks a checkpoint before any weight is touched.

        Raises:
            ValueError: If keys or shapes differ, save for a head that the
                config declares new.
        """
        anchor = 'backbone.patch_embed.projection.weight'
        unwrap_state(state_dict, prefix + anchor)
        adapt_vit_state(self.backbone, state_dict, f'{prefix}backbone.')
        _adapt_router_state(self.router, state_dict, f'{prefix}router.')
        new = self._leave_out_heads(state_dict, prefix)
        check_state_dict(self, state_dict, prefix, new)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _leave_out_heads(self, state: dict[str, Any], prefix: str) -> set[str]:
        """Takes heads that do not fit out of a state, if they may be new.

        Returns:
            The names of the model's own weights that need not be in it.
        """
        new: set[str] = set()
        for name in self.head_names if self.new_head else ():
            head = getattr(self, name, None)
            own = {} if head is None else head.state_dict()
            shapes = {f'{name}.{key}': v.shape for key, v in own.items()}
            given = {
                key.removeprefix(prefix): getattr(value, 'shape', None)
                for key, value in state.items()
                if key.startswith(f'{prefix}{name}.')
            }
            if given == shapes:
                continue
            new.update(shapes)
            for key in given:
                del state[prefix + key]
            print_log(
                f'new {name}: trained from scratch; {len(given)} weights of '
                'the checkpoint are left out',
                'current',
            )
        return new


def _adapt_router_state(
    router: RouterHead | None, state: dict[str, Any], prefix: str
) -> None:
    """Makes a state whose router is not the config's load as it should.

    A supernet of stage 1 has none: the router then starts as it is.
    """
    # Routers once had a part that routed single images.
    for key in [key for key in state if key.startswith(f'{prefix}images.')]:
        del state[key]
    given = [key for key in state if key.startswith(prefix)]
    if router is None and f'{prefix}_extra_state' in given:
        for key in given:
            del state[key]
        print_log(
            'the router of the checkpoint is left out: the config has none',
            'current',
        )
    elif router is not None and not given:
        own = router.state_dict()
        state.update({prefix + key: value for key, value in own.items()})
        print_log('no router in the checkpoint: it is a new one', 'current')


def _build_router(
    model: ElasticModelMixin, cfg: Mapping[str, Any]
) -> RouterHead:
    """The router of a config, with the model's space and costs."""
    check_mapping('router', cfg, "options with type='eavit_mm.RouterHead'")
    kinds, part = cfg.get('budgets', ('macs',)), cfg.get('part', 'total')
    _check_budgets(kinds, cfg.get('latency_table'))
    space = model.backbone.space
    table = table_for(model, cfg.get('latency_table'))
    tables = {
        kind: CostTable(space, cost_of(model, kind, part=part, table=table))
        for kind in kinds
    }
    router: RouterHead = build_part(
        'router', cfg, RouterHead, MODELS, space=space, tables=tables
    )
    router.latency_setting = table.setting if table else None
    return router


def _check_budgets(budgets: Any, latency_table: Any) -> None:
    """Refuses budgets of unknown kinds, and latencies without a table."""
    is_list = isinstance(budgets, list | tuple) and len(budgets) > 0
    is_known = is_list and all(kind in COSTS for kind in budgets)
    if not is_known or len(set(budgets)) < len(budgets):
        raise ValueError(
            f'router.budgets={budgets!r}; must list some of {list(COSTS)}, '
            'each once'
        )
    check_path('router.latency_table', latency_table)
    if ('latency' in budgets) != (latency_table is not None):
        raise ValueError(
            f'router.budgets={budgets!r}, latency_table={latency_table!r}: '
            "'latency' and a table (tools/latency.py) go together"
        )


def _check_channels(model: Any) -> None:
    """Refuses a mean or deviation of other channels than the network's."""
    channels = model.backbone.patch_embed.projection.in_channels
    for name in ('mean', 'std'):
        numbers = getattr(model.data_preprocessor, name, None)
        if numbers is not None and numbers.numel() not in (1, channels):
            raise ValueError(
                f'data_preprocessor: {name}={numbers.flatten().tolist()}; '
                'must be one number, or one for each of the in_channels='
                f'{channels} of the network'
            )


def _note_loading(
    module: nn.Module, state_dict: Mapping[str, Any], prefix: str, *args: Any
) -> None:
    """Marks a module whose weights come from a checkpoint."""
    if any(key.startswith(prefix) for key in state_dict):
        module.was_loaded = True  # type: ignore[assignment]
