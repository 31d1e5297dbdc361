"""The costs that budgets limit."""

from collections.abc import Callable
from typing import Any

from eavit_mm.space import Subnet
from eavit_mm.space.latency import LatencyTable, read_table

PARTS = ('backbone', 'neck', 'head', 'total')


def table_for(model: Any, path: str | None) -> LatencyTable | None:
    """The latency table of a file, checked for a model; None for none.

    Raises:
        ValueError: If it is no path, no table, or of another network.
    """
    backbone = model.backbone
    return read_table(path, backbone.space, backbone.geometry)


def cost_of(
    model: Any,
    kind: str,
    count: str = 'exact',
    part: str = 'total',
    table: LatencyTable | None = None,
) -> Callable[[Subnet], float]:
    """The cost function that a kind of budget limits.

    Args:
        model: An elastic model.
        kind: 'share', 'macs', 'params' or 'latency', see :class:`Budget`.
        count: Of the MACs, 'exact' or 'paper'.
        part: Of the model; a latency is always the whole model's.
        table: Of latencies.

    Raises:
        ValueError: If the model has no such part, or latency is asked for
            without a table.
    """
    parts = list(model.macs())
    if part not in parts:
        raise ValueError(f'part={part!r}; this model has {parts}')
    if kind == 'latency':
        if table is None:
            raise ValueError(
                'a limit in ms needs a latency table of the device '
                '(latency_table=FILE; tools/latency.py build makes one)'
            )
        return table
    if kind == 'params':
        return lambda subnet: int(model.params(subnet)[part])
    return lambda subnet: int(model.macs(subnet, count)[part])
