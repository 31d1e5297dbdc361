"""The distributed wrapper that trains subnets."""

from typing import Any

from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from eavit_mm.models.elastic_step import elastic_step
from eavit_mm.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class ElasticDistributedDataParallel(MMDistributedDataParallel):
    """``MMDistributedDataParallel`` whose steps train subnets.

    mmengine's wrapper never calls the model's ``train_step``; this one runs
    :func:`elastic_step`. Branches that are off leave parameters unused, so
    these are looked for; a model on the CPU needs no device ids.

    Arguments are those of the stock wrapper; ``find_unused_parameters`` may
    be False where ``max_off`` is 0.

    Example:
        >>> model_wrapper_cfg = dict(
        ...     type='eavit_mm.ElasticDistributedDataParallel')
    """

    def __init__(
        self,
        module: nn.Module,
        device_ids: list[int] | None = None,
        find_unused_parameters: bool = True,
        **kwargs: Any,
    ) -> None:
        on_cpu = next(module.parameters()).device.type == 'cpu'
        super().__init__(
            module=module,
            device_ids=None if on_cpu else device_ids,
            find_unused_parameters=find_unused_parameters,
            **kwargs,
        )

    def train_step(
        self, data: Any, optim_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Trains the subnets of one step; see :func:`elastic_step`."""
        return elastic_step(self.module, self, data, optim_wrapper)
