"""The text of an i-PI input, piece by piece.

Everything here turns settled values (`Plan`) into XML; what the values are is decided in `soapgap.ipi.starter.file`.
"""

import re
from dataclasses import dataclass
from textwrap import fill, indent
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from soapgap.ipi.starter.gle import GLE

__all__ = ["Plan", "comment", "input_text"]

@dataclass(frozen=True)
class Plan:
    """Everything that an input says, settled.

    Attributes
    ----------
    kind : str
        As the user calls it: nve, nvt, pimd, npt, npt-pimd, rpmd.
    ensemble : str
        i-PI's name: nve, nvt, npt.
    n_beads, n_steps, seed, port, batch : int
    temperature : float
        Kelvin.
    pressure : float
        GPa.
    timestep, tau : float
        Femtoseconds.
    thermostat : str or None
        langevin, svr, pile_l, pile_g or piglet.
    gle : GLE or None
    barostat : str
        isotropic or flexible.
    stride : int
        Steps between two frames of the trajectories.
    mode, address : str
        Of the socket, or "ffdirect".
    start, model, pes : str
        Files as i-PI finds them from the folder of the input.
    periodic : tuple of bool
    orthogonal : bool
        Whether all angles of the cell are right.
    title : tuple of str
        Sentences for the head of the file.
    commands : tuple of str
        What the user types.
    """

    kind: str
    ensemble: str
    n_beads: int
    temperature: float
    pressure: float
    timestep: float
    n_steps: int
    stride: int
    seed: int
    thermostat: str | None
    tau: float
    gle: GLE | None
    barostat: str
    mode: str
    address: str
    port: int
    batch: int
    start: str
    model: str
    pes: str
    periodic: tuple[bool, bool, bool]
    orthogonal: bool
    title: tuple[str, ...]
    commands: tuple[str, ...]


def input_text(plan: Plan) -> str:
    """The whole input file."""
    parts = [
        comment(" ".join(plan.title)),
        comment("To run it, in this folder (i-PI ignores the next lines):"),
        _commands(plan.commands),
        '<simulation verbosity="medium">',
        _nested(_output(plan), f"<total_steps>{plan.n_steps}</total_steps>", _seed(plan), _forcefield(plan), _system(plan)),
        "</simulation>",
    ]
    return "\n".join(parts) + "\n"


def comment(text: str) -> str:
    """An XML comment, wrapped. Two hyphens in a row are forbidden there and are set apart."""
    safe = re.sub("-(?=-)", "- ", text)
    return f"<!-- {fill(safe, 108, subsequent_indent='     ', break_long_words=False, break_on_hyphens=False)} -->"


def _commands(lines) -> str:
    # A processing instruction, because options begin with the two hyphens that a comment must not hold. It ends at "?>",
    # which a file name could hold: inside the shell's quotes it may be cut in two.
    safe = [line.replace("?>", "?''>") for line in lines]
    return "\n".join(["<?commands", *(f"     {line}" for line in safe), "?>"])


def _nested(*parts: str) -> str:
    return indent("\n".join(part for part in parts if part), "  ")


def _number(value: float) -> str:
    return f"{value:.12g}"


def _output(plan: Plan) -> str:
    often = max(1, plan.stride // 10)
    lines = [
        f"<output prefix={quoteattr(plan.kind)}>",
        _nested(
            _property_notes(plan),
            f'<properties stride="{often}" filename="out">',
            _nested(_properties(plan)),
            "</properties>",
            _positions(plan),
            _velocities(plan),
            comment(f"i-pi {plan.kind}.checkpoint continues from there, and i-pi RESTART from where a run was ended."),
            '<checkpoint stride="1000" filename="checkpoint" overwrite="True"/>',
        ),
        "</output>",
    ]
    return "\n".join(lines)


def _positions(plan: Plan) -> str:
    start = f'<trajectory stride="{plan.stride}" format="ase" '
    if plan.n_beads == 1:
        return start + 'filename="pos">positions</trajectory>'
    return "\n".join([
        comment('One bead represents all in averages over positions; without bead="0" each bead gets a file.'),
        start + 'filename="pos" bead="0">positions</trajectory>',
        start + 'filename="centroid">x_centroid</trajectory>',
    ])


def _properties(plan: Plan) -> str:
    names = ["step", "time{picosecond}", "conserved{electronvolt}", "temperature{kelvin}", "potential{electronvolt}"]
    names.append("kinetic_cv{electronvolt}" if plan.n_beads > 1 else "kinetic_md{electronvolt}")
    if all(plan.periodic):
        names.append("pressure_cv{gigapascal}" if plan.n_beads > 1 else "pressure_md{gigapascal}")
    if plan.ensemble == "npt":
        names += ["volume{angstrom3}", "cell_h{angstrom}"]
    return fill("[ " + ", ".join(names) + " ]", 108)


def _property_notes(plan: Plan) -> str:
    notes = []
    if plan.n_beads > 1:
        notes.append(comment("kinetic_cv is the quantum kinetic energy (centroid virial estimator); temperature is that of the "
                             "ring polymers and only checks the thermostat."))
    if plan.ensemble == "npt":
        notes.append(comment("cell_h: xx yy zz xy xz yz of the matrix whose columns are the lattice vectors."))
    return "\n".join(notes)


def _velocities(plan: Plan) -> str:
    if plan.kind == "rpmd":
        return "\n".join([
            comment("Velocities of the centroids: the correlation functions of RPMD."),
            f'<trajectory stride="{plan.stride}" filename="vel" format="ase">v_centroid</trajectory>',
        ])
    if plan.n_beads > 1:
        return comment("No velocities: in PIMD they are a means of sampling and not the dynamics of the nuclei (see rpmd).")
    return f'<trajectory stride="{plan.stride}" filename="vel" format="ase">velocities</trajectory>'


def _seed(plan: Plan) -> str:
    return "\n".join([
        comment("Another seed gives an independent run."),
        f"<prng><seed>{plan.seed}</seed></prng>",
    ])


def _forcefield(plan: Plan) -> str:
    if plan.mode == "ffdirect":
        return _ffdirect(plan)
    lines = [
        comment('pbc="false": positions are sent as they are and the driver folds them; trajectories stay continuous.'),
        f'<ffsocket name="soapgap" mode="{plan.mode}" pbc="false">',
        _nested(
            _address(plan),
            f"<batch_size>{plan.batch}</batch_size>" if plan.batch > 1 else "",
            comment("Seconds of sleep before each frame is sent; i-PI's own default is 1e-4."),
            "<latency>1e-5</latency>",
            _consolidate(plan),
            comment("Against a driver that is stuck: after this many seconds (take 20 times those of a frame) another one gets "
                    "the frame. Only with consolidate_messages True: otherwise i-PI 3.3 loses that frame. "
                    "<timeout>600</timeout>"),
            comment("For unattended runs: when a driver leaves, write RESTART and end, instead of waiting for the next one. "
                    "<exit_on_disconnect>True</exit_on_disconnect>"),
        ),
        "</ffsocket>",
    ]
    return "\n".join(lines)


def _address(plan: Plan) -> str:
    address = f"<address>{escape(plan.address)}</address>"
    if plan.mode != "inet":
        return address
    note = "localhost serves drivers on this machine only; 0.0.0.0 serves all that can reach it, without any protection."
    return "\n".join([comment(note), address, f"<port>{plan.port}</port>"])


def _consolidate(plan: Plan) -> str:
    if plan.batch > 1:
        note = ("i-PI has batches only with consolidated messages. A driver ended by kill -9 in the middle of a frame may then "
                "leave i-PI waiting without end (an ordinary end, SIGTERM or a crash in the computation does not).")
        return "\n".join([comment(note), "<consolidate_messages>True</consolidate_messages>"])
    note = ("False: i-PI survives a driver that is ended by kill -9 in the middle of a frame, and gives the frame to another. "
            "With True it may wait without end. It costs about 0.2 ms per frame.")
    return "\n".join([comment(note), "<consolidate_messages>False</consolidate_messages>"])


def _ffdirect(plan: Plan) -> str:
    notes = "soapgap computes within i-PI: no socket, no driver. The file is the one that soapgap ipi-pes-path prints."
    if plan.batch > 1:
        notes += " The number of beads must be a multiple of batch_size, otherwise i-PI waits without end."
    lines = [
        comment(notes),
        '<ffdirect name="soapgap" pbc="false">',
        _nested(
            "<pes>custom</pes>",
            f"<pes_path>{escape(plan.pes)}</pes_path>",
            f"<parameters>{{model: {escape(plan.model)}, structure: {escape(plan.start)}}}</parameters>",
            f"<batch_size>{plan.batch}</batch_size>" if plan.batch > 1 else "",
        ),
        "</ffdirect>",
    ]
    return "\n".join(lines)


def _system(plan: Plan) -> str:
    modes = ""
    if plan.kind == "rpmd":
        modes = "\n".join([
            comment("RPMD: every normal mode of the ring polymer moves with the physical mass."),
            '<normal_modes><frequencies style="rpmd">[ ]</frequencies></normal_modes>',
        ])
    parts = [_initialize(plan), modes, '<forces><force forcefield="soapgap"/></forces>', _motion(plan), _ensemble(plan)]
    return "\n".join(["<system>", _nested(*parts), "</system>"])


def _initialize(plan: Plan) -> str:
    temperature = _number(plan.temperature)
    notes = ['mode="ase": extended XYZ, in Angstrom. (mode="xyz" without units would be read as bohr.)']
    if not all(plan.periodic):
        letters = "".join("T" if flag else "F" for flag in plan.periodic)
        notes.append(f"The structure is not periodic in all directions: pbc is {letters} in the file, and the driver takes it "
                     f"from there (or from its option pbc {letters}). i-PI needs a cell in any case; along the F directions "
                     "the driver does not use it.")
    if plan.ensemble == "nve":
        notes.append("Velocities are drawn from the Maxwell distribution. Where the structure is at rest in a minimum, about "
                     "half of that temperature is left after a few vibrations.")
    if plan.kind == "rpmd":
        notes.append('All beads begin at the same place, not as a thermal ring polymer. For results, sample with kind pimd '
                     'first (same structure and number of beads) and take its checkpoint, positions and cell, in place of the '
                     'file: <file mode="chk">pimd.checkpoint</file>. Velocities are drawn again. Repeat with many checkpoints.')
    lines = [
        f'<initialize nbeads="{plan.n_beads}">',
        _nested(
            comment(" ".join(notes)),
            f'<file mode="ase">{escape(plan.start)}</file>',
            f'<velocities mode="thermal" units="kelvin">{temperature}</velocities>',
        ),
        "</initialize>",
    ]
    return "\n".join(lines)


def _motion(plan: Plan) -> str:
    lines = [
        '<motion mode="dynamics">',
        _nested(
            comment("The centre of mass stays where it is; set False in an external field."),
            "<fixcom>True</fixcom>",
            f'<dynamics mode="{plan.ensemble}">',
            _nested(f'<timestep units="femtosecond">{_number(plan.timestep)}</timestep>', _thermostat(plan), _barostat(plan)),
            "</dynamics>",
        ),
        "</motion>",
    ]
    return "\n".join(lines)


THERMOSTATS = {
    "langevin": "Langevin friction on every atom: sampling is reliable, diffusion is slower. For dynamics: mode=\"svr\".",
    "svr": "Stochastic velocity rescaling acts on the total kinetic energy only and hardly disturbs the dynamics. A cold start "
           "or a harmonic crystal is brought to equilibrium better by mode=\"langevin\".",
    "pile_l": "Langevin friction on the normal modes of the ring polymers; tau is that of the centroids. Liquids diffuse "
              "faster with mode=\"pile_g\".",
    "pile_g": "Langevin friction on the normal modes of the ring polymers; velocity rescaling (tau) for the centroids.",
    "piglet": "PIGLET: these matrices belong to this temperature and this number of beads, and serve frequencies up to the one "
              "they were made for. Only kinetic_cv, potential and positions are quantum averages, at this number of beads.",
}


def _thermostat(plan: Plan) -> str:
    if plan.thermostat is None:
        return ""
    if plan.thermostat == "piglet":
        inner = _nested(_matrices("A", plan.gle.a, plan.gle.a_units), _matrices("C", plan.gle.c, plan.gle.c_units))
        return "\n".join([comment(THERMOSTATS["piglet"]), '<thermostat mode="nm_gle">', inner, "</thermostat>"])
    return "\n".join([
        comment(THERMOSTATS[plan.thermostat]),
        f'<thermostat mode="{plan.thermostat}"><tau units="femtosecond">{_number(plan.tau)}</tau></thermostat>',
    ])


def _matrices(name: str, values: np.ndarray, units: str) -> str:
    rows = [", ".join(map(repr, row.tolist())) for row in values.reshape(-1, values.shape[-1])]
    attribute = f" units={quoteattr(units)}" if units else ""
    return f'<{name} shape="{values.shape}"{attribute}>\n[ ' + ",\n".join(rows) + f" ]\n</{name}>"


BAROSTATS = {
    "isotropic": "The volume changes and the shape of the cell stays: right for liquids and cubic crystals, and safe for any "
                 "cell. To let the shape change too (other crystals): mode=\"flexible\".",
    "flexible": "Volume and shape of the cell change; not for liquids, whose cells would shear without end. In an oblique cell "
                "the conserved quantity moves by 1 to 2 % of the fluctuation of the potential energy, at any time step: that "
                "is i-PI's, not the virial's (mode=\"anisotropic\" does the same).",
    "orthogonal": "The three lengths of the cell change each by itself, the angles stay (hfix). Without the line hfix the cell "
                  "can shear too; the conserved quantity is then less constant.",
}


def _barostat(plan: Plan) -> str:
    if plan.ensemble != "npt":
        return ""
    lengths_only = plan.barostat == "flexible" and plan.orthogonal
    return "\n".join([
        comment(BAROSTATS["orthogonal" if lengths_only else plan.barostat]),
        f'<barostat mode="{plan.barostat}">',
        _nested('<tau units="femtosecond">500</tau>',
                "<hfix>[ offdiagonal ]</hfix>" if lengths_only else "",
                '<thermostat mode="langevin"><tau units="femtosecond">250</tau></thermostat>'),
        "</barostat>",
    ])


def _ensemble(plan: Plan) -> str:
    lines = [f'<temperature units="kelvin">{_number(plan.temperature)}</temperature>']
    if plan.ensemble == "nve":
        fixed = "of the ring polymers' springs" if plan.n_beads > 1 else "not imposed"
        lines.insert(0, comment(f"Here the temperature is {fixed}; no thermostat acts."))
    if plan.ensemble == "npt":
        lines += [comment("1 bar is 0.0001 GPa."), f'<pressure units="gigapascal">{_number(plan.pressure)}</pressure>']
    return "\n".join(["<ensemble>", _nested(*lines), "</ensemble>"])
