"""A starter input for i-PI: what is not said is chosen from the structure, and why is said.

`write_input` reads the structure, settles every value (`soapgap.ipi.starter.text.InputValues`), and writes the input and, where
i-PI could not read the structure as it is, the start file beside it.
"""

import math
import os
import re
import shlex
from pathlib import Path

import ase
import numpy as np
from ase.units import _amu, _c, _hplanck, _k

from soapgap.errors import InputError
from soapgap.files import write_atomically
from soapgap.ipi import pes_path
from soapgap.ipi.starter.gle import GLE_SITE, read_gle
from soapgap.ipi.starter.settings import InputSettings
from soapgap.ipi.starter.structure import as_extended_xyz, read_start, readable_by_ipi, standard_setting
from soapgap.ipi.starter.text import InputValues, input_text

__all__ = ["default_beads", "default_timestep", "harmonic_deficit", "highest_frequency", "write_input"]

#: Kind: i-PI's ensemble, and whether it has ring polymers.
KINDS = {"nve": ("nve", False), "nvt": ("nvt", False), "pimd": ("nvt", True), "npt": ("npt", False), "npt-pimd": ("npt", True),
         "rpmd": ("nve", True)}
THERMOSTATS = {False: ("langevin", "svr"), True: ("pile_l", "pile_g", "piglet")}
MODES = ("unix", "inet", "shm", "ffdirect")
DEFICIT = 0.04  # of the kinetic energy of the fastest vibration: 32 beads for O-H at 300 K, the customary number
STEPS_PER_PERIOD = 18  # half a femtosecond for O-H
TIMESTEPS = (0.1, 0.25, 0.5, 1.0, 2.0)  # fs
DEFAULT_PRESSURE = 1e-4  # GPa, 1 bar


def write_input(structure, output, settings: InputSettings, force: bool = False) -> list[str]:
    """Writes an input for i-PI that runs as it is.

    Parameters
    ----------
    structure : path-like
        Any file that `soapgap drive` reads; first frame.
    output : path-like
        The input. A start file ``<stem>-start.xyz`` is written beside it if i-PI would not read `structure` rightly.
    settings : InputSettings
    force : bool
        Whether files that exist may be replaced (the structure itself never).

    Returns
    -------
    list of str
        What was written and chosen, and why, a sentence each; then the commands that run it.

    Raises
    ------
    InputError
        Settings that do not fit together or are out of range; a structure that cannot be used; a file that would be
        overwritten.
    """
    structure, output = Path(structure), Path(output)
    _check(settings)
    atoms = read_start(structure)
    notes = ["constraints of the structure are not taken over: see <fixatoms> of i-PI"] if atoms.constraints else []
    start, start_text = structure, None
    if not readable_by_ipi(structure, atoms):
        atoms, changes = standard_setting(atoms)
        start, start_text = output.with_name(f"{output.stem}-start.xyz"), as_extended_xyz(atoms)
        notes = [f"{start} is the structure for i-PI and for the driver", *changes, *notes]
    _refuse_overwriting(output, structure, settings, force)
    if start_text is not None:
        _refuse_overwriting(start, structure, settings, force)
    values, reasons = _settle(settings, atoms, structure.stem, output, _seen_from(start, output.parent))
    text = input_text(values)
    if start_text is not None:
        write_atomically(start, start_text)
    write_atomically(output, text)
    return [f"wrote {output}", *notes, *reasons, "to run it:", *(f"  {line}" for line in values.commands)]


def highest_frequency(atoms: ase.Atoms) -> tuple[float, str]:
    """An estimate of the highest vibrational frequency, 1/cm, from the lightest atom, and what it stands for.

    A bond stretches with sqrt(k / m_reduced): with H, 3700 1/cm (O-H), scaled by the root of the mass; below 20 u a double
    bond of two such atoms, k = 1000 N/m (1680 1/cm for carbon); above, a single bond, k = 400 N/m (700 1/cm for silicon).
    """
    masses = atoms.get_masses()
    index = int(masses.argmin())
    mass, symbol = float(masses[index]), atoms.symbols[index]
    if atoms.numbers[index] == 1:
        return 3700.0 * math.sqrt(1.008 / mass), "a stretching vibration of H"
    force_constant, bond = (1000.0, "double") if mass < 20.0 else (400.0, "single")
    return math.sqrt(2 * force_constant / (mass * _amu)) / (200 * math.pi * _c), f"a {bond} bond of {symbol}"


def default_timestep(frequency: float, n_beads: int) -> float:
    """Time step in fs: at most 1/18 of the period of `frequency` (1/cm), half as much with beads."""
    longest = _period(frequency) / STEPS_PER_PERIOD
    step = max((step for step in TIMESTEPS if step <= longest), default=TIMESTEPS[0])
    return step / 2 if n_beads > 1 else step


def harmonic_deficit(frequency: float, temperature: float, n_beads: int) -> float:
    """By what share the kinetic energy of an oscillator is too small with P beads.

    With x = hbar omega / k_B T and x_k = 2 P sin(pi k / P), <K_P> = k_B T / 2 sum_k x^2 / (x^2 + x_k^2); exact is
    k_B T x/4 coth(x/2).

    Parameters
    ----------
    frequency : float
        1/cm.
    temperature : float
        Kelvin.
    n_beads : int
    """
    x = _quantum_ratio(frequency, temperature)
    modes = 2 * n_beads * np.sin(np.pi * np.arange(n_beads) / n_beads)
    return float(1 - 0.5 * np.sum(x * x / (x * x + modes * modes)) / (0.25 * x / math.tanh(0.5 * x)))


def default_beads(frequency: float, temperature: float) -> int:
    """The smallest multiple of 4 with a `harmonic_deficit` of at most 4 %: about 1.7 hbar omega / k_B T."""
    n_beads = 4
    while harmonic_deficit(frequency, temperature, n_beads) > DEFICIT:
        n_beads += 4
    return n_beads


def _period(frequency: float) -> float:
    return 1e15 / (100 * _c * frequency)  # fs


def _quantum_ratio(frequency: float, temperature: float) -> float:
    return 100 * _hplanck * _c * frequency / (_k * temperature)


def _check(settings: InputSettings) -> None:
    """Values that are wrong by themselves or together, before anything is read."""
    s = settings
    _one_of("kind", s.kind, tuple(KINDS))
    _one_of("mode", s.mode, MODES)
    for name, unit in (("temperature", "K"), ("frequency", "1/cm"), ("tau", "fs"), ("timestep", "fs")):
        value = getattr(s, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"got {name} {value:g}; expected a positive number of {unit}")
    for name in ("beads", "steps", "stride", "batch", "port"):
        value = getattr(s, name)
        if value is not None and value < 1:
            raise InputError(f"got {name} {value}; expected a whole number of at least 1")
    if s.port > 65535:
        raise InputError(f"got port {s.port}; expected 1 to 65535")
    if not 0 <= s.seed < 2**32:
        raise InputError(f"got seed {s.seed}; expected 0 to 4294967295")
    _check_ensemble(s)
    if s.mode == "ffdirect":
        if s.model is None:
            raise InputError("mode ffdirect: i-PI itself loads the model; give its file with --model")
        if s.address is not None:
            raise InputError("mode ffdirect has no socket; leave the address out")
    elif s.address is not None:
        _check_address(s)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"got {name} '{value}'; expected one of {', '.join(choices)}")


def _check_ensemble(s: InputSettings) -> None:
    ensemble, many = KINDS[s.kind]
    if many and s.beads == 1:
        raise InputError(f"kind {s.kind} with 1 bead is classical; expected 2 beads or more, or kind "
                         f"{ {'pimd': 'nvt', 'npt-pimd': 'npt', 'rpmd': 'nve'}[s.kind] }")
    if not many and (s.beads or 1) > 1 and s.kind != "npt":
        raise InputError(f"kind {s.kind} is classical and has 1 bead, got {s.beads}; for ring polymers use kind "
                         f"{ {'nvt': 'pimd', 'nve': 'rpmd'}[s.kind] }")
    if ensemble == "nve" and s.thermostat is not None:
        raise InputError(f"kind {s.kind} has no thermostat, got '{s.thermostat}'; leave it out, or use kind "
                         f"{'pimd' if many else 'nvt'}")
    if s.thermostat is not None:
        _one_of(f"thermostat (of kind {s.kind})", s.thermostat, THERMOSTATS[many or (s.beads or 1) > 1])
    if s.thermostat == "piglet" and s.gle is None:
        raise InputError(f"PIGLET needs matrices that are published data and not part of soapgap: make them at {GLE_SITE}, "
                         "save them in a file, and give it with --gle FILE")
    if s.gle is not None and s.thermostat != "piglet":
        raise InputError("got GLE matrices without the thermostat piglet; give both or none")
    for name in ("pressure", "barostat"):
        if getattr(s, name) is not None and ensemble != "npt":
            raise InputError(f"kind {s.kind} has no {name}; use kind npt or npt-pimd, or leave it out")
    if s.barostat is not None:
        _one_of("barostat", s.barostat, ("isotropic", "flexible"))
    if s.pressure is not None and not math.isfinite(s.pressure):
        raise InputError(f"got pressure {s.pressure}; expected a finite number of GPa (1 bar is 0.0001)")


def _check_address(s: InputSettings) -> None:
    if not re.fullmatch(r"[^\s/\x00-\x1f-][^\s/\x00-\x1f]*", s.address):
        raise InputError(f"got the address '{s.address}'; expected a name without spaces and '/', not beginning with '-'")
    if s.mode != "inet" and len(os.fsencode(f"/tmp/ipi_{s.address}")) > 107:
        raise InputError(f"got an address of {len(s.address)} characters; expected at most 98 bytes: the socket's path is "
                         "/tmp/ipi_NAME, and 107 bytes are the limit")


def _refuse_overwriting(path: Path, structure: Path, settings: InputSettings, force: bool) -> None:
    for kept in (structure, settings.gle, settings.model):
        if kept is not None and Path(kept).resolve() == path.resolve():
            raise InputError(f"{path} would overwrite {kept}, which the run needs; choose another name for the output")
    if path.exists() and not force:
        raise InputError(f"{path} exists; choose another name for the output, or allow to replace it (--force)")


def _seen_from(path: Path, folder: Path) -> str:
    """How a file is called from a folder: i-PI runs there. Only what was given as an absolute path elsewhere stays one."""
    if path.is_absolute() and not path.is_relative_to(folder.absolute()):
        return str(path)
    return os.path.relpath(path, folder)


def _settle(s: InputSettings, atoms: ase.Atoms, stem: str, output: Path, start: str) -> tuple[InputValues, list[str]]:
    """All values, and the reasons for those that were chosen here."""
    ensemble, many = KINDS[s.kind]
    many = many or (s.beads or 1) > 1
    if ensemble == "npt" and not atoms.pbc.all():
        raise InputError("constant pressure needs a structure that is periodic in all directions; use kind nvt or pimd")
    gle = read_gle(s.gle, s.temperature) if s.gle is not None else None
    frequency, words = (s.frequency, "as given") if s.frequency is not None else highest_frequency(atoms)
    n_beads, reasons = _settle_beads(s, many, gle, frequency, words)
    timestep = s.timestep if s.timestep is not None else default_timestep(frequency, n_beads)
    period = _period(frequency)
    reasons.append(f"time step {timestep:g} fs: 1/{period / timestep:.0f} of the period, {period:.1f} fs, of the highest "
                   f"frequency, {frequency:.0f} 1/cm ({words})")
    if timestep > period / 10:
        reasons.append("warning: that is a long time step; look whether the conserved quantity stays constant")
    stride = s.stride
    if stride is None:  # dynamics: a quarter of the shortest period, so that velocities can be Fourier transformed
        stride = max(1, int(period / (4 * timestep))) if ensemble == "nve" else 100
    batch = _settle_batch(s, n_beads)
    kind = "npt-pimd" if s.kind == "npt" and many else s.kind
    address = s.address if s.address is not None else _default_address(s.mode, stem, kind)
    model = "MODEL.safetensors" if s.model is None else _seen_from(Path(s.model), output.parent)
    _check_names(model, start)
    if s.mode == "ffdirect":
        _check_parameters(model, start)
    commands = _commands(s, output.name, address, model, start)
    title = " ".join([f"{atoms.get_chemical_formula()}, {len(atoms)} atoms, {kind} at {s.temperature:g} K: written by soapgap "
                      "ipi-input for i-PI 3.3.", *(f"{reason[0].upper()}{reason[1:]}." for reason in reasons)])
    pes = str(pes_path())
    values = InputValues(
        kind=kind, ensemble=ensemble, n_beads=n_beads, temperature=s.temperature, timestep=timestep, n_steps=s.steps,
        pressure=DEFAULT_PRESSURE if s.pressure is None else s.pressure, stride=stride, seed=s.seed, tau=s.tau, gle=gle,
        thermostat=None if ensemble == "nve" else s.thermostat or THERMOSTATS[many][0], barostat=s.barostat or "isotropic",
        mode=s.mode, address=address, port=s.port, batch=batch, start=start, model=model, pes=pes, title=title,
        periodic=tuple(bool(flag) for flag in atoms.pbc), orthogonal=bool(np.abs(np.tril(atoms.cell.array, -1)).max() < 1e-8),
        commands=commands,
    )  # fmt: skip
    return values, reasons


def _settle_beads(s: InputSettings, many: bool, gle, frequency: float, words: str) -> tuple[int, list[str]]:
    if not many:
        return 1, []
    if gle is not None:
        if s.beads not in (None, gle.n_beads):
            raise InputError(f"got {s.beads} beads, but {s.gle} has matrices for {gle.n_beads}; expected the same number")
        return gle.n_beads, [f"{gle.n_beads} beads, for which the matrices of {Path(s.gle).name} were made"]
    n_beads = s.beads if s.beads is not None else default_beads(frequency, s.temperature)
    deficit = harmonic_deficit(frequency, s.temperature, n_beads)
    return n_beads, [f"{n_beads} beads: for {frequency:.0f} 1/cm ({words}) hbar*omega/(k_B*T) is "
                     f"{_quantum_ratio(frequency, s.temperature):.1f} at {s.temperature:g} K, and the quantum kinetic energy "
                     f"of such a vibration comes out {100 * deficit:.1f} % too small; check results with twice as many"]


def _settle_batch(s: InputSettings, n_beads: int) -> int:
    if s.batch is None:
        return n_beads if s.mode == "ffdirect" else 1
    if s.batch > n_beads:
        raise InputError(f"got batches of {s.batch} structures; expected at most the number of beads, {n_beads}")
    if s.mode == "ffdirect" and n_beads % s.batch:
        raise InputError(f"got batches of {s.batch} structures for {n_beads} beads; expected a divisor (i-PI's ffdirect would "
                         "wait without end for the rest of the last batch)")
    return s.batch


def _default_address(mode: str, stem: str, kind: str) -> str:
    if mode == "inet":
        return "localhost"
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", stem).strip("-.")[:40] or "soapgap"
    return f"{name}-{kind}"


def _check_names(*names: str) -> None:
    for name in names:
        if any(character < " " or "\ud800" <= character <= "\udfff" for character in name):
            raise InputError(f"got the file name {name!r}, which XML cannot hold; expected one of printable characters")


def _check_parameters(*names: str) -> None:
    """i-PI takes <parameters> apart at commas and brackets, and knows no quotes."""
    for name in names:
        if re.search(r"[,{}\[\]()'\"]|^\s|\s$|^(true|false)$", name, re.IGNORECASE) or _is_number(name):
            raise InputError(f"mode ffdirect: i-PI cannot read the file name '{name}' in <parameters>; expected one without "
                             "commas, quotes and brackets, that is not a number")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _commands(s: InputSettings, name: str, address: str, model: str, start: str) -> tuple[str, ...]:
    run = f"i-pi {shlex.quote(name)}"
    if s.mode == "ffdirect":
        return (run,)
    if s.mode == "inet":
        where = f"--host {shlex.quote('localhost' if address == '0.0.0.0' else address)} --port {s.port}"
    else:
        where = f"--unix {shlex.quote(address)}"
    files = f"{shlex.quote(model)} {shlex.quote(start)}"
    return (f"{run} &", f"soapgap drive {files} {where}", "# or, in place of both:",
            f"soapgap ipi-run {shlex.quote(name)} {files}")
