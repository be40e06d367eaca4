"""What a driver may send to i-PI beside energy, forces and virial: a registry of named providers.

i-PI takes "extras" as one JSON object per frame, whose keys must be the same in every frame, with all numbers in atomic
units, because i-PI never converts them. A provider turns the result of an evaluation into such an object.
"""

import json
from collections.abc import Callable, Iterable

import numpy as np
from ase.units import Hartree

from soapgap.errors import InputError

__all__ = ["pack", "provider", "register"]

_PROVIDERS: dict[str, Callable] = {}
RESERVED = "raw"  # i-PI's own key


def register(name: str, provide: Callable[[object], dict]) -> None:
    """Adds a provider.

    Parameters
    ----------
    name : str
        What users give to ``--extras``.
    provide : callable
        ``provide(result) -> dict`` of strings to numbers, lists or arrays in atomic units, always with the same keys; `result`
        is what the potential's ``compute`` returned. Raises `InputError` if the result has nothing to offer.
    """
    _PROVIDERS[name] = provide


def provider(name: str) -> Callable[[object], dict]:
    """The provider of a name; `InputError` if there is none."""
    if name not in _PROVIDERS:
        raise InputError(f"got the extra '{name}'; expected one of {', '.join(sorted(_PROVIDERS))}")
    return _PROVIDERS[name]


def pack(parts: Iterable[dict]) -> bytes:
    """One JSON object of all parts."""
    together: dict = {}
    for part in parts:
        if taken := together.keys() & part.keys():
            raise InputError(f"two extras give the same key, {', '.join(sorted(taken))}; choose one of them")
        together |= part
    if RESERVED in together:
        raise InputError(f"an extra has the key '{RESERVED}', which i-PI reserves; use another")
    return json.dumps(together, default=_plain).encode()


def _plain(value):
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _atom_energies(result) -> dict:
    if result.energies is None:
        raise InputError("the extra 'atom_energies' is not available: an external potential of the model does not give the "
                         "energies of the atoms")
    return {"atom_energies": result.energies / Hartree}


def _of_result(result) -> dict:
    offered = getattr(result, "extras", None)
    if not offered:
        raise InputError("the extra 'result' is not available: what this potential computes has no extras of its own")
    return dict(offered)


register("atom_energies", _atom_energies)
register("result", _of_result)
