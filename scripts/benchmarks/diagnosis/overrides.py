"""Fields of a config for data and networks of the corpus' own."""

from typing import Any


def own(source: str, fault: str = "none", amount: float = 0.5) -> dict[str, Any]:
    """Fields that take the data of `own/examples.py`.

    Args:
        source: one of its `SOURCES`.
        fault: one of its `FAULTS`.
        amount: of the fault.

    Returns:
        Fields by their dotted paths.
    """
    return {
        "data.name": "examples.py:load",
        "data.split_column": "part",
        "data.options.source": source,
        "data.options.fault": fault,
        "data.options.amount": amount,
    }


def mnist(fault: str = "none", amount: float = 0.5) -> dict[str, Any]:
    """Fields that take a part of MNIST, with a fault of `own/examples.py` in it.

    Args:
        fault: one of its `FAULTS`.
        amount: of the fault.

    Returns:
        Fields by their dotted paths.
    """
    return {"data.name": f"mnist-{fault}-{amount:g}.npz", "data.split_column": "part"}


def network(function: str, **options: Any) -> dict[str, Any]:
    """Fields that take a network of `own/networks.py`.

    Args:
        function: its name.
        options: of it.

    Returns:
        Fields by their dotted paths.
    """
    return {"model.build": f"networks.py:{function}", **{f"model.options.{name}": v for name, v in options.items()}}
