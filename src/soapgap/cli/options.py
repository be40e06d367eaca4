"""Fields of a dataclass as options of a command."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, get_type_hints

import typer


def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with one option for each field of its parameter `options`, which it then gets as one object.

    Parameters
    ----------
    command : callable
        Its parameter `options` is annotated with a dataclass whose fields are made by `soapgap.ipi.options.option`.
    """
    kind = command.__annotations__["options"]
    types = get_type_hints(kind)

    def run(**given):
        options = kind(**{item.name: given.pop(item.name) for item in fields(kind)})
        return command(**given, options=options)

    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        parameters += [_parameter(item, types[item.name]) for item in fields(kind)] if parameter.name == "options" else [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    functools.update_wrapper(run, command)
    run.__signature__ = inspect.Signature(parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(item: Field, of: type) -> inspect.Parameter:
    how, flag = item.metadata, f"--{item.name.replace('_', '-')}"
    names = [name for name in (flag, how["short"]) if name]  # named: a logical value has no --no-... then
    shown = True if how["shown"] is None else how["shown"] or False
    default = inspect.Parameter.empty if item.default is MISSING else item.default
    info = typer.Option(*names, help=how["help"], min=how["least"], show_default=shown)
    return inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[of, info])
