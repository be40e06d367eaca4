"""A program: i-PI 3.3 with the part of the kinetic stress that its barostats of flexible cells leave out."""

# i-PI with what its flexible and anisotropic barostats lack: the off-diagonal kinetic stress of the centroid, S = P sum
# p_a p_b / m, and the symmetry of S along the momentum step, where p grows by f dt: its term of order dt^2 is
# P sum (f_a p_b + p_a f_b) / 2m, and i-PI takes f_a p_b alone.
COMPLETED = """\
import sys
import numpy as np
from ipi.engine.barostats import BaroMTK, BaroRGB
from ipi.engine.simulation import Simulation
from ipi.utils.depend import dstrip
from ipi.utils.softexit import softexit

def complete(barostat):
    incomplete_stress, incomplete_step = barostat.kstress_mts, barostat.pstep

    def tensor(self, vectors):
        return self.beads.nbeads * (vectors.T / dstrip(self.beads.m)) @ dstrip(self.beads.pc).reshape(-1, 3)

    def kinetic_stress(self, level):
        stress = incomplete_stress(self, level)
        if level == self.nmtslevels - 1:
            full = tensor(self, dstrip(self.beads.pc).reshape(-1, 3))
            stress = stress + full - np.diag(np.diag(full))
        return stress

    def step(self, level=0):
        incomplete_step(self, level)
        if level == self.nmtslevels - 1:
            forces = dstrip(self.forces.mts_forces[level].f).mean(axis=0)
            cross = tensor(self, forces.reshape(-1, 3))
            self.p += np.triu(0.5 * (cross.T - cross)) * self.pdt[level] ** 2

    barostat.kstress_mts, barostat.pstep = kinetic_stress, step

complete(BaroMTK)
complete(BaroRGB)
simulation = Simulation.load_from_xml(open("input.xml"), sockets_prefix=sys.argv[1])
simulation.run()
softexit.trigger(status="success", message="")
"""
