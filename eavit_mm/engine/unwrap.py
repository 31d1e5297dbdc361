"""From a runner's model to the elastic model inside it."""

from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper

from eavit_mm.models import ElasticModelMixin


def unwrap(model: Any) -> Any:
    """The model inside distributed and test-time-augmentation wrappers."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def elastic_model(model: Any, asked_by: str) -> ElasticModelMixin:
    """:func:`unwrap`; ``ValueError`` by the part that asks, if not elastic."""
    inner = unwrap(model)
    if not isinstance(inner, ElasticModelMixin):
        raise ValueError(
            f'{asked_by} needs an elastic model, such as '
            "type='eavit_mm.ElasticImageClassifier' or "
            f"'eavit_mm.ElasticEncoderDecoder'; got {type(inner).__name__}"
        )
    return inner
