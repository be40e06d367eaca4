"""What the steps that compare (`agreement`, `elastic`) have in common: each is a command, too."""

import argparse
import json
import sys

from soapgap.errors import SoapGAPError
from soapgap.files import write_atomically


def command(program, description, compare, table, arguments=None):
    """Command line: compare, print the table, write the numbers as JSON if asked.

    Parameters
    ----------
    program, description : str
        For the help.
    compare : callable
        ``compare(model, threads)`` gives the numbers, JSON values.
    table : callable
        ``table(numbers)`` gives them as text.
    arguments : list of str, optional
        Instead of those of this process.

    Returns
    -------
    int
        Exit status: 2 for an error that is explained on standard error.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("model", help="a model file with silicon")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="write the numbers to this file")
    options = parser.parse_args(arguments)
    try:
        result = compare(options.model, options.threads)
        if options.json:
            write_atomically(options.json, json.dumps(result, indent=1) + "\n")
    except SoapGAPError as error:
        print(f"soapgap: {error}", file=sys.stderr)
        return 2
    print(table(result))
    return 0


def run(flow, name, title, table):
    """Run the module `name` of the demo as a command on the demo's model, show its table; the numbers."""
    command = [sys.executable, "-m", f"soapgap.demo.{name}", "si.safetensors", "--json", f"{name}.json"]
    flow.run(command, f"{name}.out", 300, title, shown=["python", *command[1:]])
    result = json.loads((flow.folder / f"{name}.json").read_text(encoding="utf-8"))
    flow.screen.block(table(result))
    return result
