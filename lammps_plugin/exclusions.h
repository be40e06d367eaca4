// What LAMMPS's neighbour exclusions mean for a many-body energy. SPDX-License-Identifier: GPL-2.0-only
#ifndef LMP_SOAPGAP_EXCLUSIONS_H
#define LMP_SOAPGAP_EXCLUSIONS_H

#include "pointers.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

namespace LAMMPS_NS {

// An atom that LAMMPS excludes from every atom, itself (its periodic images) included, is out: it contributes nothing, as
// if it were deleted. So fix gcmc and fix widom ask for the energy without an atom. Atoms that see some others stay in:
// parts of a system that do not see each other each have their whole energy, whatever the number of atoms in a part.
class Exclusions : protected Pointers {
 public:
  explicit Exclusions(class LAMMPS *lmp) : Pointers(lmp) {}
  ~Exclusions() override = default;

  // Reads rules and atoms after each new neighbour list; all ranks call it together. type_species: -1 is no atom of the model.
  void update(const std::vector<int> &type_species);
  void forget() { known = false; }                                                    // the next update reads again
  bool out(int i) const { return !flags.empty() && flags[static_cast<std::size_t>(i)]; }    // a local or ghost atom

 private:
  using Kind = std::pair<int, int>;    // type of an atom, and its groups as a mask

  std::vector<char> flags;    // [local and ghost atoms], empty where no atom is out
  std::string warned;         // the rules of the last warning
  bool known = false;

  void warn();
  int bit(int group) const;
  bool removed(int mask) const;
  bool separate(const Kind &, const Kind &) const;
  std::set<Kind> kinds_present(const std::vector<int> &type_species) const;
};

}    // namespace LAMMPS_NS

#endif
