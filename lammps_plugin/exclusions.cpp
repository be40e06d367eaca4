// What LAMMPS's neighbour exclusions mean for a many-body energy. SPDX-License-Identifier: GPL-2.0-only
#include "exclusions.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "group.h"
#include "neighbor.h"

#include <algorithm>
#include <map>

using namespace LAMMPS_NS;

static constexpr int ALL = 0;    // index of the group that holds every atom

// Not neighbor->ex1_bit: those arrays are made anew only when a run is initialised, fixes add rules at other times.
int Exclusions::bit(int group_index) const
{
  return group->bitmask[group_index];
}

// In a group that is excluded from all atoms. fix gcmc takes such an atom out of all other groups, also out of `all`, so that
// LAMMPS itself lets it see its own images and other such atoms.
bool Exclusions::removed(int mask) const
{
  for (int k = 0; k < neighbor->nex_group; k++) {
    const int a = neighbor->ex1_group[k], b = neighbor->ex2_group[k];
    if ((b == ALL && (mask & bit(a))) || (a == ALL && (mask & bit(b)))) return true;
  }
  return false;
}

bool Exclusions::separate(const Kind &one, const Kind &other) const
{
  for (int k = 0; k < neighbor->nex_type; k++) {
    const int a = neighbor->ex1_type[k], b = neighbor->ex2_type[k];
    if ((one.first == a && other.first == b) || (one.first == b && other.first == a)) return true;
  }
  for (int k = 0; k < neighbor->nex_group; k++) {
    const int a = bit(neighbor->ex1_group[k]), b = bit(neighbor->ex2_group[k]);
    if (((one.second & a) && (other.second & b)) || ((one.second & b) && (other.second & a))) return true;
  }
  return false;
}

// Kinds of the atoms of all ranks that are there for the model.
std::set<Exclusions::Kind> Exclusions::kinds_present(const std::vector<int> &type_species) const
{
  std::set<Kind> kinds;
  for (int i = 0; i < atom->nlocal; i++)
    if (type_species[atom->type[i]] >= 0 && !removed(atom->mask[i])) kinds.emplace(atom->type[i], atom->mask[i]);
  std::vector<int> mine, counts(static_cast<std::size_t>(comm->nprocs)), starts(counts.size());
  for (const auto &kind : kinds) {
    mine.push_back(kind.first);
    mine.push_back(kind.second);
  }
  const int n = static_cast<int>(mine.size());
  MPI_Allgather(&n, 1, MPI_INT, counts.data(), 1, MPI_INT, world);
  int total = 0;
  for (std::size_t rank = 0; rank < counts.size(); rank++) {
    starts[rank] = total;
    total += counts[rank];
  }
  std::vector<int> everyone(static_cast<std::size_t>(total));
  MPI_Allgatherv(mine.data(), n, MPI_INT, everyone.data(), counts.data(), starts.data(), MPI_INT, world);
  for (std::size_t k = 0; k < everyone.size(); k += 2) kinds.emplace(everyone[k], everyone[k + 1]);
  return kinds;
}

void Exclusions::update(const std::vector<int> &type_species)
{
  if (known && neighbor->ago != 0) return;    // groups may have changed since, the list has not
  known = true;
  flags.clear();
  warn();
  if (neighbor->nex_type + neighbor->nex_group == 0) return;
  const std::set<Kind> kinds = kinds_present(type_species);
  std::map<Kind, bool> seen;
  flags.resize(static_cast<std::size_t>(atom->nlocal + atom->nghost));
  for (std::size_t i = 0; i < flags.size(); i++) {
    const Kind kind(atom->type[i], atom->mask[i]);
    const auto entry = seen.emplace(kind, false);
    if (entry.second)
      entry.first->second = removed(kind.second) ||
          (separate(kind, kind) &&
           std::all_of(kinds.begin(), kinds.end(), [&](const Kind &other) { return separate(kind, other); }));
    flags[i] = entry.first->second;
  }
}

// Once for each set of rules: those of the input, and those that fixes add when a run starts.
void Exclusions::warn()
{
  std::string gone, partial;
  const auto add = [](std::string &list, const std::string &item) { list += (list.empty() ? "" : ", ") + item; };
  for (int k = 0; k < neighbor->nex_group; k++) {
    const int a = neighbor->ex1_group[k], b = neighbor->ex2_group[k];
    if (a == ALL || b == ALL)
      add(gone, group->names[a == ALL ? b : a]);
    else
      add(partial, std::string("groups ") + group->names[a] + " and " + group->names[b]);
  }
  for (int k = 0; k < neighbor->nex_type; k++)
    add(partial, "types " + std::to_string(neighbor->ex1_type[k]) + " and " + std::to_string(neighbor->ex2_type[k]));
  for (int k = 0; k < neighbor->nex_mol; k++)
    add(partial, std::string("molecules in group ") + group->names[neighbor->ex_mol_group[k]]);
  const std::string rules = gone + "|" + partial;
  if (rules == warned) return;
  warned = rules;
  if (comm->me != 0) return;
  if (!gone.empty())
    error->warning(FLERR, "pair_style soapgap: 'neigh_modify exclude', or a fix such as gcmc, excludes from all atoms those of group " +
                              gone + ": they contribute nothing while they are in it, as if deleted; if this is not meant, "
                              "remove the line from the input");
  if (!partial.empty())
    error->warning(FLERR, "pair_style soapgap: 'neigh_modify exclude' takes neighbours out of the many-body environments (" +
                              partial + "); energies and forces are those of atoms that do not see each other; an atom "
                              "excluded from every atom contributes nothing; remove the exclusion if this is not meant");
}
