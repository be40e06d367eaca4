// Whether the mass of an atom type is that of its element. SPDX-License-Identifier: GPL-2.0-only
#ifndef SOAPGAP_ATOMIC_MASSES_H
#define SOAPGAP_ATOMIC_MASSES_H

#include <string>
#include <vector>

namespace soapgap_lammps {

// Why an atom type with this mass is hardly the element `symbol` (the order of elements in pair_coeff is wrong, as a rule: then
// the energy looks healthy and is that of another substance); empty where the mass fits or the symbol is no element.
std::string mass_problem(int type, double mass, const std::string &symbol, const std::vector<std::string> &species);

}    // namespace soapgap_lammps

#endif
