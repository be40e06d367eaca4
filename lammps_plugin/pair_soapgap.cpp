// pair_style soapgap: SOAP/GAP potentials in LAMMPS. SPDX-License-Identifier: GPL-2.0-only
#include "pair_soapgap.h"

#include "atomic_masses.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>

using namespace LAMMPS_NS;

// Pairs that are gathered before the evaluator is called, per thread: bounds the memory (56 bytes a pair) and is
// still thousands of times the work that a call costs.
static constexpr std::size_t PAIRS_PER_THREAD = 65536;

// Bytes in one broadcast: MPI counts are int.
static constexpr bigint BROADCAST_CHUNK = 1 << 30;

static const char *const SPECIAL_BONDS =
    "pair_style soapgap: special_bonds takes bonded neighbours out of the neighbour list, and there are bonds: put "
    "'special_bonds lj/coul 1 1 1' into the input";

PairSoapGAP::PairSoapGAP(LAMMPS *lmp) : Pair(lmp), exclusions(lmp), scale(nullptr), nthreads(1), model_bytes(0)
{
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  centroidstressflag = CENTROID_AVAIL;
  // The virial is summed over r_ij and dE/dr_ij, so that it is the sum of the per-atom virials to the last digits.
  no_virial_fdotr_compute = 1;
}

PairSoapGAP::~PairSoapGAP()
{
  if (!allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
  memory->destroy(scale);
}

void PairSoapGAP::allocate()
{
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  memory->create(scale, n, n, "pair:scale");
  for (int i = 0; i < n; i++) {
    std::fill(setflag[i], setflag[i] + n, 0);
    std::fill(scale[i], scale[i] + n, 1.0);
  }
  allocated = 1;
}

// pair_style soapgap [threads N]
void PairSoapGAP::settings(int narg, char **arg)
{
  if (strcmp(update->unit_style, "metal") != 0)
    error->all(FLERR, "pair_style soapgap works in eV and Angstrom and needs 'units metal', but units are '" +
                          std::string(update->unit_style) + "': put 'units metal' at the top of the input");
  nthreads = 1;
  for (int i = 0; i < narg; i += 2) {
    if (strcmp(arg[i], "threads") != 0)
      error->all(FLERR, "pair_style soapgap: unknown keyword '" + std::string(arg[i]) +
                            "'; the only keyword is 'threads N'");
    if (i + 1 == narg) error->all(FLERR, "pair_style soapgap: 'threads' needs a number, such as 'threads 2'");
    nthreads = utils::inumeric(FLERR, arg[i + 1], false, lmp);
    if (nthreads < 1 || nthreads > 1024)
      error->all(FLERR, "pair_style soapgap: got 'threads " + std::string(arg[i + 1]) +
                            "', expected a number from 1 to 1024");
  }
  workspace.reset(new soapgap::Workspace(nthreads));
}

// pair_coeff * * MODEL El1 El2 ...
void PairSoapGAP::coeff(int narg, char **arg)
{
  const int ntypes = atom->ntypes;
  if (narg < 3 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0)
    error->all(FLERR, "pair_style soapgap: expected 'pair_coeff * * MODEL El1 El2 ...', one element (or NULL) per "
                      "atom type");
  if (narg != 3 + ntypes)
    error->all(FLERR, "pair_style soapgap: pair_coeff names " + std::to_string(narg - 3) +
                          " elements, but there are " + std::to_string(ntypes) +
                          " atom types: write one element (or NULL) per atom type, in the order of the types");
  if (!allocated) allocate();
  // Nothing of an earlier pair_coeff may outlive a failure: from Python, LAMMPS goes on after one.
  for (int i = 0; i <= ntypes; i++) std::fill(setflag[i], setflag[i] + ntypes + 1, 0);
  type_species.assign(ntypes + 1, -1);
  load_model(arg[2]);
  map_types(ntypes, arg + 3);
}

// The bytes of a file that rank 0 alone reads. All ranks learn whether it worked before any of them stops.
std::string PairSoapGAP::read_everywhere(const std::string &name)
{
  std::string bytes;
  bigint status = 0;    // size of the file, or -errno
  if (comm->me == 0) {
    const std::string path = utils::get_potential_file_path(name);
    errno = 0;
    FILE *file = fopen(path.empty() ? name.c_str() : path.c_str(), "rb");
    if (file) {
      char block[65536];
      for (std::size_t n; (n = fread(block, 1, sizeof(block), file)) > 0;) bytes.append(block, n);
      status = ferror(file) ? -(errno ? errno : EIO) : static_cast<bigint>(bytes.size());
      fclose(file);
    } else
      status = -(errno ? errno : ENOENT);
  }
  MPI_Bcast(&status, 1, MPI_LMP_BIGINT, 0, world);
  if (status < 0)
    error->all(FLERR, "pair_style soapgap: cannot read the model file '" + name +
                          "': " + strerror(static_cast<int>(-status)) +
                          "; give its path relative to the working directory, or put it in LAMMPS_POTENTIALS");
  bytes.resize(static_cast<std::size_t>(status));
  for (bigint start = 0; start < status; start += BROADCAST_CHUNK)
    MPI_Bcast(&bytes[static_cast<std::size_t>(start)], static_cast<int>(std::min(BROADCAST_CHUNK, status - start)),
              MPI_BYTE, 0, world);
  return bytes;
}

void PairSoapGAP::load_model(const std::string &name)
{
  const std::string bytes = read_everywhere(name);
  std::string problem;
  model.reset();
  try {
    model.reset(new soapgap::Model(soapgap::Model::from_bytes(bytes.data(), bytes.size(), true)));
  } catch (const std::exception &e) {
    problem = *e.what() ? e.what() : "unknown error";
  }
  // Only memory can make ranks differ here; then the lowest rank that failed tells all the others why.
  int failed = problem.empty() ? comm->nprocs : comm->me, first_failed = 0;
  MPI_Allreduce(&failed, &first_failed, 1, MPI_INT, MPI_MIN, world);
  if (first_failed < comm->nprocs) {
    int length = static_cast<int>(problem.size());
    MPI_Bcast(&length, 1, MPI_INT, first_failed, world);
    problem.resize(static_cast<std::size_t>(length));
    if (length > 0) MPI_Bcast(&problem[0], length, MPI_CHAR, first_failed, world);
    error->all(FLERR, "pair_style soapgap: model file '" + name + "': " + problem);
  }
  if (model->properties()[0].n_out != 1)
    error->all(FLERR, "pair_style soapgap: model file '" + name + "' has " + std::to_string(model->properties()[0].n_out) +
                          " energies for each atom; the pair style needs a model with one");
  check_external(name);
  model_bytes = bytes.size();
}

// A model that was fitted to what another potential leaves must not run without it.
void PairSoapGAP::check_external(const std::string &name)
{
  if (model->external().empty()) return;
  std::string others;
  for (const auto &part : model->external())
    others += (others.empty() ? "" : ", ") +
        ((part.kind == "lammps" ? "pair_style " : "a pair style that equals the ASE calculator ") + part.name);
  const std::string message = "pair_style soapgap: model file '" + name + "' holds only a part of the model; beside it, under " +
      "'pair_style hybrid/overlay', must stand " + others + ": 'soapgap info " + name + "' prints all lines";
  if (!utils::strmatch(force->pair_style, "^hybrid/overlay")) error->all(FLERR, message);
  if (comm->me == 0) error->warning(FLERR, message);
}

// The pair styles that belong to the model must be there; whether their coefficients are right only the user can know.
void PairSoapGAP::find_external()
{
  static const char *const suffixes[] = {"", "/omp", "/opt", "/intel", "/gpu", "/kk"};
  for (const auto &part : model->external()) {
    if (part.kind != "lammps") continue;
    const std::string style = part.name.substr(0, part.name.find(' '));
    bool found = false;
    for (const char *suffix : suffixes) found = found || force->pair_match(style + suffix, 1, 1) != nullptr;
    if (!found)
      error->all(FLERR, "pair_style soapgap: pair_style " + part.name + " is a part of the model and is missing: add it to "
                            "hybrid/overlay, with the lines that 'soapgap info' prints for the model");
  }
}

// Atom types -> species of the model; NULL leaves a type to the other styles of a hybrid.
void PairSoapGAP::map_types(int ntypes, char **names)
{
  type_species.assign(ntypes + 1, -1);
  std::string absent;
  int nmapped = 0;
  for (int t = 1; t <= ntypes; t++) {
    const std::string name = names[t - 1];
    if (name == "NULL") continue;
    nmapped++;
    type_species[t] = model->species_index(name);
    if (type_species[t] < 0) absent += (absent.empty() ? "'" : ", '") + name + "' (type " + std::to_string(t) + ")";
  }
  std::string known;
  for (const auto &symbol : model->species()) known += " " + symbol;
  if (!absent.empty())
    error->all(FLERR, "pair_style soapgap: the model does not know the element " + absent + "; it holds:" + known +
                          ". Use one of these, or NULL for a type that another style of a hybrid treats");
  if (nmapped == 0) error->all(FLERR, "pair_style soapgap: pair_coeff maps no atom type to an element of the model");
  if (nmapped < ntypes && !utils::strmatch(force->pair_style, "^hybrid"))
    error->all(FLERR, "pair_style soapgap: NULL leaves atom types without a potential; it is meant for pair_style "
                      "hybrid or hybrid/overlay");
  for (int i = 1; i <= ntypes; i++)
    for (int j = 1; j <= ntypes; j++) setflag[i][j] = type_species[i] >= 0 && type_species[j] >= 0;
  if (comm->me == 0)
    utils::logmesg(lmp, "soapgap: model with" + known + ", cutoff " + fmt::format("{:g}", model->cutoff()) + " A, " +
                            std::to_string(model->n_terms()) + " terms, " + std::to_string(nthreads) +
                            " thread(s) per rank\n");
}

// Atom types, elements and masses in the log, once for each pair_coeff or change of masses.
void PairSoapGAP::report_types()
{
  std::string text;
  for (int t = 1; t <= atom->ntypes; t++) {
    text += "  type " + std::to_string(t) + " -> " +
        (type_species[t] < 0 ? "NULL" : model->species()[static_cast<std::size_t>(type_species[t])]);
    if (atom->mass && atom->mass_setflag[t]) text += ", mass " + fmt::format("{:g}", atom->mass[t]);
    text += "\n";
  }
  if (text == mapping) return;
  mapping = text;
  if (comm->me != 0) return;
  utils::logmesg(lmp, "soapgap: atom types and elements\n" + text);
  if (atom->rmass || !atom->mass) return;    // masses of single atoms
  for (int t = 1; t <= atom->ntypes; t++) {
    if (type_species[t] < 0 || !atom->mass_setflag[t]) continue;
    const std::string &symbol = model->species()[static_cast<std::size_t>(type_species[t])];
    const std::string problem = soapgap_lammps::mass_problem(t, atom->mass[t], symbol, model->species());
    if (!problem.empty()) error->warning(FLERR, "pair_style soapgap: " + problem);
  }
}

// Bonded neighbours that special_bonds leaves out of the list: a many-body energy without its nearest atoms means nothing.
// Looks at this rank's atoms; molecules of atom_style template keep theirs elsewhere and count as bonded.
bool PairSoapGAP::special_neighbours()
{
  if (atom->molecular == Atom::ATOMIC) return false;
  for (int k = 1; k <= 3; k++) {
    if (force->special_lj[k] != 0.0 && force->special_coul[k] != 0.0) continue;
    if (atom->molecular == Atom::TEMPLATE) return true;
    for (int i = 0; i < atom->nlocal; i++)
      if (atom->nspecial[i][k - 1] > (k == 1 ? 0 : atom->nspecial[i][k - 2])) return true;
  }
  return false;
}

void PairSoapGAP::init_style()
{
  if (force->newton_pair == 0)
    error->all(FLERR, "pair_style soapgap needs 'newton on' (forces on ghost atoms are sent back to their owners): "
                      "remove 'newton off' from the input");
  const int here = special_neighbours();
  int anywhere = 0;
  MPI_Allreduce(&here, &anywhere, 1, MPI_INT, MPI_MAX, world);
  if (anywhere) error->all(FLERR, SPECIAL_BONDS);
  if (model->needs().order && !atom->tag_enable)
    error->all(FLERR, "pair_style soapgap: the energy of this model depends on the order of the atoms, which is that of their IDs, "
                      "but 'atom_modify id no' leaves them without: remove 'id no' from the input");
  report_types();
  exclusions.forget();
  find_external();
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

double PairSoapGAP::init_one(int i, int j)
{
  if (setflag[i][j] == 0) error->all(FLERR, "pair_style soapgap: pair_coeff is not set for all atom types");
  scale[j][i] = scale[i][j];
  return model->cutoff();
}

// For 'fix adapt ... pair soapgap scale * * v_name': what energies, forces and virials are multiplied by.
void *PairSoapGAP::extract(const char *name, int &dim)
{
  dim = 2;
  return strcmp(name, "scale") == 0 ? static_cast<void *>(scale) : nullptr;
}

// The energy of many atoms together has one scale for all types.
double PairSoapGAP::common_scale()
{
  double common = 1.0;
  bool found = false;
  for (int i = 1; i <= atom->ntypes; i++)
    for (int j = i; j <= atom->ntypes; j++) {
      if (setflag[i][j] == 0) continue;
      if (found && scale[i][j] != common)
        error->all(FLERR, "pair_style soapgap: the scale of types " + std::to_string(i) + " and " + std::to_string(j) + " is " +
                              fmt::format("{:g}", scale[i][j]) + ", that of other types is " + fmt::format("{:g}", common) +
                              ": a many-body energy has one scale for all; write 'pair soapgap scale * * v_name' in fix adapt");
      common = scale[i][j];
      found = true;
    }
  return common;
}

// Neighbours in the order of their atoms' tags, images of one atom in that of the cells they are in: see Needs::order in soapgap.hpp.
void PairSoapGAP::sort_neighbours(int n, const int *jlist)
{
  sorted.resize(static_cast<std::size_t>(n));
  for (int jj = 0; jj < n; jj++) sorted[static_cast<std::size_t>(jj)] = jlist[jj] & NEIGHMASK;
  std::sort(sorted.begin(), sorted.end(), [this](int a, int b) {
    if (atom->tag[a] != atom->tag[b]) return atom->tag[a] < atom->tag[b];
    double la[3], lb[3];    // in units of the cell, images differ by whole numbers
    domain->x2lamda(atom->x[a], la);
    domain->x2lamda(atom->x[b], lb);
    for (int k = 0; k < 3; k++)
      if (std::fabs(la[k] - lb[k]) > 0.5) return la[k] < lb[k];
    return false;
  });
}

// Gathers centres of the neighbour list from position `first` on; returns the position where the next chunk starts.
int PairSoapGAP::fill_chunk(int first)
{
  const std::size_t limit = PAIRS_PER_THREAD * static_cast<std::size_t>(nthreads);
  const double rsq_max = model->cutoff() * model->cutoff();
  double **x = atom->x;
  const int *type = atom->type;
  std::size_t npairs = 0;
  chunk.centre_atom.clear();
  chunk.centre_species.clear();
  chunk.offsets.assign(1, 0);

  for (; first < list->inum; first++) {
    const int i = list->ilist[first], jnum = list->numneigh[i], *jlist = list->firstneigh[i];
    if (type_species[type[i]] < 0 || exclusions.out(i)) continue;
    const std::size_t room = npairs + static_cast<std::size_t>(jnum);
    if (room > limit && !chunk.centre_atom.empty()) break;
    if (room > chunk.neighbour_atom.size()) {
      chunk.neighbour_atom.resize(room);
      chunk.neighbour_species.resize(room);
      chunk.vectors.resize(3 * room);
    }
    if (model->needs().order) {
      sort_neighbours(jnum, jlist);
      jlist = sorted.data();
    }
    for (int jj = 0; jj < jnum; jj++) {
      const int j = jlist[jj] & NEIGHMASK;
      const double r[3] = {x[j][0] - x[i][0], x[j][1] - x[i][1], x[j][2] - x[i][2]};
      const int species = exclusions.out(j) ? -1 : type_species[type[j]];
      if (species < 0 || r[0] * r[0] + r[1] * r[1] + r[2] * r[2] >= rsq_max) continue;
      chunk.neighbour_atom[npairs] = j;
      chunk.neighbour_species[npairs] = species;
      std::copy(r, r + 3, chunk.vectors.begin() + static_cast<std::ptrdiff_t>(3 * npairs));
      npairs++;
    }
    chunk.centre_atom.push_back(i);
    chunk.centre_species.push_back(type_species[type[i]]);
    chunk.offsets.push_back(static_cast<std::int64_t>(npairs));
  }
  chunk.energies.resize(chunk.centre_atom.size());
  if (chunk.gradients.size() < 3 * npairs) chunk.gradients.resize(3 * npairs);
  chunk.shares.resize(eflag_atom && model->needs().handed ? npairs : 0);
  return first;
}

// Virial of one pair of centre i: W = -r (x) dE_i/dr, xx yy zz xy xz yz. In the 6-component per-atom virial the two
// atoms share it; in the 9-component centroid virial it belongs to the neighbour j, on which this force acts, with the
// position in the first index and the force in the second: that makes the heat flux exact (Fan et al., PRB 92, 094301).
void PairSoapGAP::tally_pair_virial(int i, int j, const double *r, const double *g)
{
  const double xy = r[0] * g[1], xz = r[0] * g[2], yz = r[1] * g[2], yx = r[1] * g[0], zx = r[2] * g[0],
               zy = r[2] * g[1];
  const double v[6] = {-r[0] * g[0],      -r[1] * g[1],      -r[2] * g[2],
                       -0.5 * (xy + yx), -0.5 * (xz + zx), -0.5 * (yz + zy)};
  if (vflag_global)
    for (int k = 0; k < 6; k++) virial[k] += v[k];
  if (vflag_atom)
    for (int k = 0; k < 6; k++) {
      vatom[i][k] += 0.5 * v[k];
      vatom[j][k] += 0.5 * v[k];
    }
  if (cvflag_atom) {
    const double c[9] = {v[0], v[1], v[2], -xy, -xz, -yz, -yx, -zx, -zy};
    for (int k = 0; k < 9; k++) cvatom[j][k] += c[k];
  }
}

// Whether anything of a chunk is infinite or NaN shows in the sum of all of it: one addition for each number, in the loops that read
// them anyway. This finds the atom.
void PairSoapGAP::refuse_not_finite()
{
  tagint tag = 0;
  for (std::size_t c = 0; c < chunk.centre_atom.size() && tag == 0; c++) {
    bool finite = std::isfinite(chunk.energies[c]);
    for (std::int64_t k = 3 * chunk.offsets[c]; k < 3 * chunk.offsets[c + 1]; k++)
      finite = finite && std::isfinite(chunk.gradients[static_cast<std::size_t>(k)]);
    if (!finite) tag = atom->tag[chunk.centre_atom[c]];
  }
  throw std::runtime_error("the energy or forces of the model are not finite, first at atom " + std::to_string(tag) +
                           " (got infinity or NaN, expected numbers in eV and eV/A): look for atoms on one site or far closer than in "
                           "the training data, and lower the timestep; if there are none, the model's numbers are too large: fit it again");
}

// Adds the energies and gradients of a chunk to what LAMMPS asked for.
void PairSoapGAP::spread_chunk()
{
  double **f = atom->f;
  double sum = 0.0;
  for (std::size_t c = 0; c < chunk.centre_atom.size(); c++) {
    const int i = chunk.centre_atom[c];
    sum += chunk.energies[c];
    if (eflag_global) eng_vdwl += chunk.energies[c];
    if (eflag_atom) eatom[i] += chunk.energies[c];
    for (std::int64_t p = chunk.offsets[c]; p < chunk.offsets[c + 1]; p++) {
      const int j = chunk.neighbour_atom[static_cast<std::size_t>(p)];
      const double *g = chunk.gradients.data() + 3 * p;
      sum += g[0] + g[1] + g[2];
      for (int k = 0; k < 3; k++) {
        f[i][k] += g[k];
        f[j][k] -= g[k];
      }
      if (!chunk.shares.empty()) {
        eatom[j] += chunk.shares[static_cast<std::size_t>(p)];
        if (eflag_global) eng_vdwl += chunk.shares[static_cast<std::size_t>(p)];
      }
      if (vflag_either) tally_pair_virial(i, j, chunk.vectors.data() + 3 * p, g);
    }
  }
  if (!std::isfinite(sum)) refuse_not_finite();
}

// Calls work(system) for one chunk of centres after the other.
template <class Work>
void PairSoapGAP::for_each_chunk(Work work)
{
  std::string problem;
  for (int next = 0; next < list->inum && problem.empty();) {
    try {
      next = fill_chunk(next);
      if (chunk.centre_atom.empty()) continue;
      soapgap::System system;
      system.neighbours.n_centres = static_cast<std::int64_t>(chunk.centre_atom.size());
      system.neighbours.centre_species = chunk.centre_species.data();
      system.neighbours.offsets = chunk.offsets.data();
      system.neighbours.neighbour_species = chunk.neighbour_species.data();
      system.neighbours.vectors = chunk.vectors.data();
      work(system);
    } catch (const std::exception &e) {
      problem = *e.what() ? e.what() : "unknown error";
    }
  }
  if (!problem.empty()) error->one(FLERR, "pair_style soapgap: " + problem);
}

// What a model needs of all atoms together, before any of them can be evaluated, on all ranks.
void PairSoapGAP::sum_over_atoms()
{
  sums.assign(static_cast<std::size_t>(soapgap::n_sums(*model)), 0.0);
  if (sums.empty()) return;
  for_each_chunk([this](const soapgap::System &system) { soapgap::accumulate(*model, *workspace, system, sums.data()); });
  MPI_Allreduce(MPI_IN_PLACE, sums.data(), static_cast<int>(sums.size()), MPI_DOUBLE, MPI_SUM, world);
}

void PairSoapGAP::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  // Fixes may make bonds and exclusions during a run, and add rules at its start, after init_style.
  if (neighbor->ago == 0 && special_neighbours()) error->one(FLERR, SPECIAL_BONDS);
  exclusions.update(type_species);
  const double factor = common_scale();
  sum_over_atoms();
  for_each_chunk([&](const soapgap::System &system) {
    soapgap::Outputs outputs;
    outputs.values = chunk.energies.data();
    outputs.handed = chunk.shares.empty() ? nullptr : chunk.shares.data();
    soapgap::Adjoint back;
    back.pairs = chunk.gradients.data();
    soapgap::evaluate(*model, *workspace, system, sums.empty() ? nullptr : sums.data(), outputs, &back);
    if (factor != 1.0) scale_chunk(factor);
    spread_chunk();
  });
}

void PairSoapGAP::scale_chunk(double factor)
{
  for (double &energy : chunk.energies) energy *= factor;
  for (double &share : chunk.shares) share *= factor;
  const std::size_t npairs = static_cast<std::size_t>(chunk.offsets.back());
  for (std::size_t k = 0; k < 3 * npairs; k++) chunk.gradients[k] *= factor;
}

// Bytes. The evaluator's buffers are bounded (tens of megabytes per thread) and not counted.
double PairSoapGAP::memory_usage()
{
  double bytes = Pair::memory_usage() + static_cast<double>(model_bytes);
  bytes += static_cast<double>((chunk.centre_atom.capacity() + chunk.neighbour_atom.capacity()) * sizeof(int));
  bytes += static_cast<double>((chunk.centre_species.capacity() + chunk.neighbour_species.capacity()) *
                               sizeof(std::int32_t));
  bytes += static_cast<double>(chunk.offsets.capacity() * sizeof(std::int64_t));
  bytes += static_cast<double>((chunk.vectors.capacity() + chunk.energies.capacity() + chunk.gradients.capacity()) *
                               sizeof(double));
  return bytes;
}
