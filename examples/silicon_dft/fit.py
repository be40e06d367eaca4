"""Fit silicon to density-functional data: python fit.py MLEARN_FOLDER

MLEARN_FOLDER holds Si_train.xyz and Si_test.xyz (github.com/materialsvirtuallab/mlearn, converted to extended XYZ with
`energy`, `forces`, and the name of the group of each frame under `group`). Half a minute on one core. Leaves
silicon_dft.safetensors, its errors and parity plots, and start.xyz, a crystal of 64 atoms, in the current folder.
"""

import sys
import tomllib
from pathlib import Path

from ase.build import bulk
from ase.io import write

import soapgap


def main() -> None:
    """The settings of fit.toml with the data of the command line."""
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    folder = Path(sys.argv[1]).resolve()
    config = tomllib.loads(Path(__file__).with_name("fit.toml").read_text())
    for name in ("train", "test"):
        config["data"][name] = str(folder / config["data"][name])
    try:
        result = soapgap.fit(config)
    except soapgap.SoapGAPError as error:
        sys.exit(f"fit.py: {error}")
    atoms = bulk("Si", "diamond", a=5.469, cubic=True).repeat(2)
    atoms.rattle(0.02, seed=1)
    write("start.xyz", atoms, format="extxyz")
    test = result.errors["test"]["all"]
    print(f"test MAE: {test['energy']['mae']:.2f} meV/atom, {test['force']['mae']:.4f} eV/A")


if __name__ == "__main__":
    main()
