"""What does not fit with the rest: energies, distances, forces, and frames that occur twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from soapgap.check.findings import Finding, plural
from soapgap.check.frames import FrameNumbers, FrameTable
from soapgap.check.geometry import as_length
from soapgap.data.environments import OVERLAP

N_SCALES, N_NEIGHBOURS, FEWEST_NEIGHBOURS, SMALLEST_GROUP = 10.0, 8, 4, 10
RARE = 3  # frames: an element in fewer has the energy that makes them right
IMPOSSIBLE = 12.0  # eV per atom: more than any substance is bound
ENOUGH = 1.0  # eV per atom: a type of two clusters of energies has a large deviation, but no more is needed than this
SAME_FRAME = 1e-3  # Angstrom, displacement of an atom, root mean square
SAME_ENERGY = 1e-3  # eV per atom
NEAR, GAP = 0.5, 1.15  # in units of the sum of covalent radii; and between neighbouring distances in the distribution
NET_FORCE = (1e-3, 1e-2)  # eV/A per atom: note, warning
ASYMMETRY = 0.01


def robust_scale(values: np.ndarray) -> float:
    """1.4826 times the median absolute deviation: the standard deviation of normal noise, whatever the outliers are."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


def species_energies(table: FrameTable) -> dict[int, float]:
    """Energy of an atom of every species (eV) that describes the frames best: the smallest sum of |E - sum n e| / N.

    Iteratively reweighted least squares; isolated atoms are left out. Where compositions do not determine the energies,
    the smallest are taken.
    """
    rows = _with_energy(table)
    if len(rows) == 0:
        return {}
    counts = table.composition()[rows].astype(float)
    n = counts.sum(axis=1)
    x, y = counts / n[:, None], table.column("energy")[rows] / n
    weights = np.ones(len(y))
    for _ in range(30):
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]
        weights = 1.0 / np.maximum(np.abs(y - x @ solution), 1e-4)
    return dict(zip(table.species, solution.tolist(), strict=True))


def _with_energy(table: FrameTable) -> np.ndarray:
    return np.array([k for k, f in enumerate(table.frames) if not np.isnan(f.energy) and not f.isolated], int)


def residuals(table: FrameTable, e_fit: dict[int, float]) -> np.ndarray:
    """E - sum n e, per atom (eV), of every frame.

    NaN for isolated atoms, where there is no energy, and for frames with an element that hardly any other has: its energy
    is whatever makes them right.
    """
    rest = np.full(len(table.frames), np.nan)
    rows = _with_energy(table)
    if len(rows):
        present = table.composition()[rows] > 0
        rare = present.sum(axis=0) < min(RARE, len(rows))
        rows = rows[~present[:, rare].any(axis=1)]
    if len(rows):
        counts = table.composition()[rows]
        rest[rows] = (table.column("energy")[rows] - counts @ [e_fit[z] for z in table.species]) / counts.sum(axis=1)
    return rest


def energy_findings(table: FrameTable, rest: np.ndarray) -> Iterator[Finding]:
    """Energies per atom that nothing in their geometry explains.

    A frame is compared with the eight frames (a third of them if there are fewer than 24, but four at least) of its
    config_type (of all types, if its own has fewer than ten) that are most like it in volume per atom, shortest distance and
    forces. It is out of line if its residual lies outside theirs (without
    the highest and the lowest) by three times their range and by ten robust standard deviations of the type; 1 eV per atom
    is enough if frames are usually nearer than 0.1 eV per atom to those most like them. A frame with one of the smallest or
    largest volumes, the shortest distances or the largest forces may lie three times the range of all others above them,
    because energies of compressed cells rise steeply.
    """
    strange: dict[int, float] = {}
    small = []
    for kind in sorted({f.config_type for f in table.frames}):
        members = np.array([k for k, f in enumerate(table.frames) if f.config_type == kind and np.isfinite(rest[k])], int)
        if len(members) < SMALLEST_GROUP:
            small += members.tolist()
        else:
            strange |= _out_of_line(table, rest, members)
    everything = np.flatnonzero(np.isfinite(rest))
    if small and len(everything) >= SMALLEST_GROUP:
        strange |= {k: value for k, value in _out_of_line(table, rest, everything).items() if k in set(small)}
    ratios = _contact_ratios(table)
    centre = np.nanmedian(rest) if np.isfinite(rest).any() else 0.0
    for k in np.flatnonzero(np.isfinite(rest)):
        above = rest[k] - centre
        if above < -IMPOSSIBLE or (above > IMPOSSIBLE and ratios[k] > 0.9):
            strange[int(k)] = float(above)
    if strange:
        first = max(strange, key=lambda k: abs(strange[k]))
        yield Finding("warning", "energy-out-of-line", f"{plural(len(strange), 'frame')} with an energy out of line, "
                      f"most of all by {strange[first]:+.4g} eV per atom ({table.places.words([first])})",
                      "neither composition nor geometry explains it: another unit or other settings, a calculation that did "
                      "not converge, or the energy of another frame", tuple(sorted(strange)),
                      {"eV_per_atom": {str(k): value for k, value in sorted(strange.items())}})


def _out_of_line(table: FrameTable, rest: np.ndarray, members: np.ndarray) -> dict[int, float]:
    """Frame index and deviation (eV per atom) of the members that are out of line among the others."""
    r = rest[members]
    features = _features(table, members)
    n_near = int(np.clip(len(members) // 3, FEWEST_NEIGHBOURS, N_NEIGHBOURS))  # of few frames, most are not alike
    _, near = cKDTree(features).query(features, k=n_near + 1)
    theirs = np.sort([r[[j for j in others if j != i][:n_near]] for i, others in enumerate(near)], axis=1)[:, 1:-1]
    low, high, usual = theirs[:, 0], theirs[:, -1], np.median(theirs, axis=1)
    local = max(N_SCALES * robust_scale(r - usual), ENOUGH)
    margin = np.maximum(min(N_SCALES * max(robust_scale(r), 1e-4), local), 3.0 * (high - low))
    upper = high + margin
    for i in np.flatnonzero(_steep(features)):
        others = np.delete(r, i)
        upper[i] = max(upper[i], others.max() + 3.0 * np.ptp(others))
    strange = np.flatnonzero((r < low - margin) | (r > upper))
    return {int(members[i]): float(r[i] - usual[i]) for i in strange}


def _steep(features: np.ndarray) -> np.ndarray:
    """Members where energies may rise steeply: the smallest and largest volumes, shortest distances and largest forces."""
    n_edge = max(1, len(features) // 33)
    columns = np.column_stack([features[:, 0], -features[:, 0], features[:, 1], -features[:, 2]])
    n_up_to = [np.searchsorted(np.sort(column), column, side="right") for column in columns.T]
    return (np.array(n_up_to) <= n_edge).any(axis=0)


def _features(table: FrameTable, members: np.ndarray) -> np.ndarray:
    """Volume per atom, shortest distance and forces, each divided by its spread, so that distances mean likeness."""
    frames = [table.frames[k] for k in members]
    volume = np.array([np.log(f.volume / f.n_atoms) if f.periodic else 0.0 for f in frames])
    known = np.array([np.isfinite(f.rms_force) and not _without_forces(f) for f in frames])
    force = np.log(np.array([f.rms_force for f in frames]) + 0.01)
    force[~known] = np.median(force[known]) if known.any() else 0.0
    columns = np.stack([volume, np.minimum(_contact_ratios(table)[members], 3.0), force], axis=1)
    spread = columns.std(axis=0)
    return columns / np.where(spread > 1e-9, spread, 1.0)


def _contact_ratios(table: FrameTable) -> np.ndarray:
    """Shortest distance of each frame in units of the sum of covalent radii; infinite without neighbours."""
    return np.array([min((d / (covalent_radii[a] + covalent_radii[b]) for a, b, d in f.shortest), default=np.inf)
                     for f in table.frames])


def contact_findings(table: FrameTable) -> Iterator[Finding]:
    """Atoms that are too near each other, by pair of species.

    Below 0.1 A a fit stops. Otherwise a distance is reported below half the sum of the covalent radii, and below 0.8 of
    it if a gap of 15 % separates the frame, or up to 1 % of the frames, from all others. Frames of two atoms may come
    as near as they like.
    """
    by_pair: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for k, frame in enumerate(table.frames):
        for a, b, d in frame.shortest:
            by_pair.setdefault((a, b), []).append((d, k))
    for (a, b), entries in sorted(by_pair.items()):
        entries.sort()
        distances = np.array([d for d, _ in entries])
        name = f"{chemical_symbols[a]}-{chemical_symbols[b]}"
        radii = covalent_radii[a] + covalent_radii[b]
        overlapping = [k for d, k in entries if d < OVERLAP]
        if overlapping:
            yield Finding("error", "overlap", f"{name}: atoms {distances[0]:.3g} A apart", f"below {OVERLAP} A a fit "
                          "stops: an atom is there twice, or the cell or the units of the positions are wrong",
                          tuple(sorted(overlapping)), {"shortest_A": float(distances[0])})
        near = [k for d, k in entries if OVERLAP <= d < NEAR * radii]
        near += [k for _, k in entries[:_separated(distances, 0.8 * radii)] if k not in near and k not in overlapping]
        large = sorted(k for k in near if table.frames[k].n_atoms > 2)
        if large:
            nearest = min(d for d, k in entries if k in set(large))
            yield Finding("warning", "close-contact", f"{name}: atoms {nearest:.3f} A apart ({nearest / radii:.2f} of the sum "
                          f"of covalent radii; the median of the shortest distances is {np.median(distances):.3f} A)",
                          "a wrong position, cell or unit, unless such collisions are intended", tuple(large),
                          {"shortest_A": float(nearest), "median_A": float(np.median(distances))})


def _separated(distances: np.ndarray, limit: float) -> int:
    """How many of the shortest distances (sorted) stand apart from the rest."""
    if len(distances) < SMALLEST_GROUP:
        return 0
    few = max(3, len(distances) // 100)
    apart = [i for i in range(1, few + 1) if distances[i - 1] < limit and distances[i] > GAP * distances[i - 1]]
    return max(apart, default=0)


def force_findings(table: FrameTable) -> Iterator[Finding]:
    """Forces that do not add up, and forces of zero where nothing makes them vanish."""
    net = table.column("net_force")
    known = np.isfinite(net)
    if not known.any():
        return
    median = float(np.median(net[known]))
    usual = max(NET_FORCE[0], median + N_SCALES * robust_scale(net[known]))
    large = known & (net > min(usual, NET_FORCE[1]))
    values = {"median_eV_per_A": median, "largest_eV_per_A": float(net[known].max()), "threshold_eV_per_A": usual}
    if large.any():
        yield Finding("warning", "net-force", f"forces do not add up to zero: |sum F|/N is up to {net[known].max():.3g} eV/A "
                      f"(threshold {min(usual, NET_FORCE[1]):.2g}; median {median:.2g})",
                      "no potential can have such forces: constrained atoms, a field, rows that are lost or exchanged, or a "
                      "coarse grid", tuple(np.flatnonzero(large).tolist()), values)
    small = known & (net > NET_FORCE[0]) & ~large
    if small.any():
        yield Finding("note", "net-force-small", f"|sum F|/N is up to {net[small].max():.2g} eV/A (above {NET_FORCE[0]:g}; "
                      f"median {median:.2g})", "noise of the reference: default_sigma of the forces should not be smaller than "
                      "it", tuple(np.flatnonzero(small).tolist()), values)
    zero = [k for k, f in enumerate(table.frames) if _without_forces(f)]
    if zero:
        yield Finding("error", "zero-forces", f"all forces are zero in {plural(len(zero), 'frame')} without the symmetry for "
                      "it", "they were not computed or not written; remove the column there, or compute them", tuple(zero))


def _without_forces(frame: FrameNumbers) -> bool:
    """True if the forces are zero although no symmetry asks for it."""
    return frame.n_atoms > 1 and frame.rms_force == 0.0 and frame.asymmetry > ASYMMETRY


def duplicate_findings(table: FrameTable) -> Iterator[Finding]:
    """Frames with the same atoms in the same order, cell and positions (0.001 A, root mean square)."""
    groups: dict[tuple, list[int]] = {}
    for k, frame in enumerate(table.frames):
        if frame.fingerprint is not None and not frame.isolated:
            groups.setdefault((frame.kind, frame.periodic), []).append(k)
    again, contradictory, same_as = {}, {}, {}
    for members in groups.values():
        for twins in _twins(table, np.array(members)):
            first = table.frames[twins[0]]
            for k in twins[1:]:
                difference = np.nan_to_num(abs(table.frames[k].energy - first.energy) / first.n_atoms)  # one may have none
                (contradictory if difference > SAME_ENERGY else again)[int(k)] = float(difference)
                same_as[int(k)] = int(twins[0])
    if again:
        yield Finding("warning", "duplicate", f"{plural(len(again), 'frame')} that occurred before (same cell and positions "
                      f"within {SAME_FRAME:g} A, such as {_such_as(table, again, same_as)}; energies differ by up to "
                      f"{max(again.values()):.1g} eV per atom)",
                      "they count twice, and make test errors too small if they are in both sets; remove them",
                      tuple(sorted(again)), _twin_values(again, same_as))
    if contradictory:
        yield Finding("error", "duplicate-contradictory", f"{plural(len(contradictory), 'frame')} that occurred before with "
                      f"another energy (by up to {max(contradictory.values()):.3g} eV per atom, such as "
                      f"{_such_as(table, contradictory, same_as)})", "one of the two is wrong, or they come from different "
                      "settings", tuple(sorted(contradictory)), _twin_values(contradictory, same_as))


def _such_as(table: FrameTable, found: dict[int, float], same_as: dict[int, int]) -> str:
    """The two frames of which energies differ most."""
    k = max(found, key=found.__getitem__)
    return table.places.words([same_as[k], k])


def _twin_values(found: dict[int, float], same_as: dict[int, int]) -> dict:
    frames = sorted(found)
    return {"eV_per_atom": {str(k): found[k] for k in frames}, "same_as": {str(k): same_as[k] for k in frames}}


def _twins(table: FrameTable, members: np.ndarray) -> Iterator[np.ndarray]:
    """Groups of equal frames, each in order."""
    if len(members) < 2:
        return
    points = np.array([np.concatenate([as_length(f.fingerprint, f.cell), f.cell.ravel()])
                       for f in (table.frames[k] for k in members)])
    distances, near = cKDTree(points).query(points, k=2)
    row = np.arange(len(members))
    which = (near[:, 0] == row).astype(int)  # of three equal points the tree may return the other two
    close = distances[row, which] < SAME_FRAME
    graph = coo_array((np.ones(close.sum()), (row[close], near[row, which][close])), shape=(len(members),) * 2)
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    for twins in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        if len(twins) > 1:
            yield members[twins]
