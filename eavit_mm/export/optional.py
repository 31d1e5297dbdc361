"""Packages that only some formats need."""

from importlib import import_module
from typing import Any


def require(name: str, needed_for: str) -> Any:
    """Imports a package that need not be installed.

    Args:
        name: Of the package.
        needed_for: What asks for it, for the message.

    Raises:
        ValueError: If it is missing; names it, and how to install it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f'{needed_for} needs the package {error.name}, which is not '
            "installed: pip install 'eavit_mm[export]'"
        ) from error
