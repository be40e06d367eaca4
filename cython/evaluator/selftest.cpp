// Runs the public surface over structures from a text file, for sanitizers. SPDX-License-Identifier: BSD-3-Clause
//
//   soapgap_selftest MODEL STRUCTURES
//   soapgap_selftest --survive MODELS STRUCTURES
// The second: MODELS is many model files in one, each after its size (8 bytes, little endian), damaged in any way. Each must be refused
// or evaluated; what numbers come out does not matter.
// The first checks that pairs are sorted, that one and two threads agree, that forces sum to zero, that rows add up, and that truncated
// models are refused.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <iterator>
#include <utility>
#include <vector>

#include "soapgap.hpp"

namespace {

template <class T>
std::vector<T> read(std::ifstream &file, std::size_t n) {
  std::vector<T> values(n);
  for (T &v : values) file >> v;
  return values;
}

void require(bool condition, const char *what) {
  if (!condition) throw std::runtime_error(what);
}

// Pairs given once and back to front come out as rows of a full list, ordered, with the vectors that their shifts say.
void check_pairs(const std::vector<std::int64_t> &offsets, const std::vector<std::int64_t> &neighbour_atom) {
  const auto n = static_cast<std::int64_t>(offsets.size()) - 1;
  std::vector<std::int64_t> i, j, atoms(n), starts(n + 1);
  for (std::int64_t k = n; k-- > 0;) {
    atoms[k] = k;
    for (std::int64_t p = offsets[k + 1]; p-- > offsets[k];)
      if (k < neighbour_atom[p]) {
        i.push_back(k);
        j.push_back(neighbour_atom[p]);
      }
  }
  const auto n_given = static_cast<std::int64_t>(i.size());
  std::vector<std::int32_t> given(3 * n_given);
  for (std::int64_t p = 0; p < n_given; ++p) given[3 * p] = static_cast<std::int32_t>(p % 5 - 2);
  std::vector<std::int64_t> sorted(2 * n_given), shift(6 * n_given);
  soapgap::sort_pairs(n, n_given, i.data(), j.data(), given.data(), starts.data(), sorted.data(), shift.data());
  require(starts[n] == 2 * n_given, "pairs are lost");
  for (std::int64_t k = 0; k < n; ++k)
    for (std::int64_t p = starts[k] + 1; p < starts[k + 1]; ++p)
      require(std::pair(sorted[p - 1], shift[3 * p - 3]) <= std::pair(sorted[p], shift[3 * p]), "a row is not sorted");
  const std::vector<double> positions(3 * n, 1.0), cell{2.0, 3.0, 5.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0};
  std::vector<double> vectors(6 * n_given);
  soapgap::pair_vectors(n, atoms.data(), starts.data(), sorted.data(), shift.data(), positions.data(), cell.data(), vectors.data());
  double sum = 0.0;
  for (std::int64_t p = 0; p < 2 * n_given; ++p)
    for (int x = 0; x < 3; ++x) {
      require(vectors[3 * p + x] == static_cast<double>(shift[3 * p]) * cell[x], "a vector is not that of its shift");
      sum += vectors[3 * p + x];
    }
  require(sum == 0.0, "a pair is not there in both directions");
}

double largest_difference(const std::vector<double> &a, const std::vector<double> &b) {
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

// Threads, a pass without gradients, sums from outside, a given dL/d(outputs) and what is handed over give the same numbers.
void check_outputs(const soapgap::Model &model, const soapgap::System &system, int property, std::size_t n_pairs) {
  const std::size_t n_out = static_cast<std::size_t>(model.properties()[property].n_out);
  const auto n = static_cast<std::size_t>(system.neighbours.n_centres);
  std::vector<double> e1(n * n_out), e2(n * n_out), g1(3 * n_pairs), g2(3 * n_pairs), atoms(3 * n, 1.0), strain(9, 1.0);
  soapgap::Workspace one(1), two(2);
  soapgap::Outputs outputs{property, e1.data(), nullptr};
  soapgap::Adjoint back;
  back.output = static_cast<int>(n_out) - 1;
  back.pairs = g1.data();
  soapgap::evaluate(model, one, system, nullptr, outputs, &back);
  std::vector<double> sums(static_cast<std::size_t>(soapgap::n_sums(model))), pull(n * n_out);
  soapgap::accumulate(model, one, system, sums.data());
  for (std::size_t i = 0; i < n; ++i) pull[i * n_out + n_out - 1] = 1.0;
  back.values = pull.data();
  back.pairs = g2.data();
  back.atoms = atoms.data();
  back.strain = strain.data();
  outputs.values = e2.data();
  soapgap::evaluate(model, two, system, sums.data(), outputs, &back);
  require(largest_difference(e1, e2) < 1e-10, "threads change the outputs");
  require(largest_difference(g1, g2) < 1e-9, "a given adjoint is another gradient");
  require(atoms == std::vector<double>(3 * n) && strain == std::vector<double>(9), "a term has more than pairs");
  soapgap::evaluate(model, one, system, nullptr, outputs);
  require(largest_difference(e1, e2) < 1e-10, "outputs alone differ");
  std::vector<double> forces(3 * n), virial(9), handed(n_pairs * n_out + 1);
  soapgap::add_forces(system.neighbours, g1.data(), system.centre_atom, system.neighbour_atom, forces.data(), virial.data());
  double sum[3] = {0.0, 0.0, 0.0}, difference = 0.0;
  for (std::size_t k = 0; k < 3 * n; ++k) sum[k % 3] += forces[k];
  for (double s : sum) require(std::abs(s) < 1e-9, "forces do not sum to zero");
  outputs.handed = handed.data();
  soapgap::evaluate(model, one, system, nullptr, outputs);
  for (std::size_t i = 0; i < n * n_out; ++i) difference += e2[i] - e1[i];
  for (std::size_t p = 0; p < n_pairs * n_out; ++p) difference += handed[p];
  require(std::abs(difference) < 1e-9, "what is handed over changes the sum");
}

// Rows of a term that has sparse points, whose local parts add up; features and coefficients of a soap term.
void check_rows(const soapgap::Model &model, soapgap::Workspace &workspace, int term, const soapgap::System &system) {
  const auto n = static_cast<std::size_t>(system.n_atoms);
  const auto m = static_cast<std::size_t>(soapgap::n_sparse(model, term));
  std::vector<double> energy(m), gradients(3 * n * m), strain(6 * m), local(n * m), sum(m);
  if (m > 0 && !model.needs().sums) {
    soapgap::rows(model, workspace, term, system, {energy.data(), gradients.data(), strain.data(), local.data()});
    for (std::size_t k = 0; k < n * m; ++k) sum[k % m] += local[k];
    for (std::size_t s = 0; s < m; ++s)
      require(std::abs(sum[s] - energy[s]) < 1e-9 * (1.0 + std::abs(energy[s])), "local rows do not add up");
  }
  try {
    std::vector<double> x(n * static_cast<std::size_t>(soapgap::n_features(model, term))), c(n << 16);
    soapgap::features(model, workspace, term, system.neighbours, x.data());
    soapgap::density_coefficients(model, workspace, term, system.neighbours, c.data());
  } catch (const soapgap::Error &) {  // not a soap term
  }
}

struct Structure {
  std::vector<std::int32_t> centre_species, neighbour_species;
  std::vector<std::int64_t> offsets, centre_atom, neighbour_atom;
  std::vector<double> vectors;
  std::size_t n_pairs() const { return neighbour_atom.size(); }
  soapgap::System system() const {
    soapgap::System system;
    system.neighbours.n_centres = static_cast<std::int64_t>(centre_atom.size());
    system.neighbours.centre_species = centre_species.data();
    system.neighbours.offsets = offsets.data();
    system.neighbours.neighbour_species = neighbour_species.data();
    system.neighbours.vectors = vectors.data();
    system.n_atoms = system.neighbours.n_centres;
    system.centre_atom = centre_atom.data();
    system.neighbour_atom = neighbour_atom.data();
    return system;
  }
};

bool read_structure(std::ifstream &file, Structure &s) {
  std::size_t n = 0, n_pairs = 0;
  if (!(file >> n >> n_pairs)) return false;
  s.centre_species = read<std::int32_t>(file, n);
  s.offsets = read<std::int64_t>(file, n + 1);
  s.neighbour_species = read<std::int32_t>(file, n_pairs);
  s.centre_atom = read<std::int64_t>(file, n);
  s.neighbour_atom = read<std::int64_t>(file, n_pairs);
  s.vectors = read<double>(file, 3 * n_pairs);
  require(bool(file), "the structures file is too short");
  return true;
}

bool one_structure(const soapgap::Model &model, std::ifstream &file) {
  Structure structure;
  if (!read_structure(file, structure)) return false;
  const std::size_t n_pairs = structure.n_pairs();
  check_pairs(structure.offsets, structure.neighbour_atom);
  const soapgap::System system = structure.system();
  for (std::size_t property = 0; property < model.properties().size(); ++property)
    check_outputs(model, system, static_cast<int>(property), n_pairs);
  soapgap::Workspace one(1);
  for (int term = 0; term < model.n_terms(); ++term) check_rows(model, one, term, system);
  return true;
}

// Energies, gradients and rows of a model that need not make sense; a term may refuse.
void use(const soapgap::Model &model, const Structure &structure) {
  const auto n_species = static_cast<std::int32_t>(model.species().size());
  for (const auto *list : {&structure.centre_species, &structure.neighbour_species})
    for (std::int32_t species : *list)
      if (species >= n_species) return;  // the host's business
  const soapgap::System system = structure.system();
  const auto n = static_cast<std::size_t>(system.n_atoms);
  soapgap::Workspace workspace(1);
  for (std::size_t property = 0; property < model.properties().size(); ++property) {
    const std::size_t n_out = static_cast<std::size_t>(model.properties()[property].n_out);
    std::vector<double> values(n * n_out), pairs(3 * structure.n_pairs()), handed(structure.n_pairs() * n_out + 1);
    soapgap::Adjoint back;
    back.pairs = pairs.data();
    soapgap::evaluate(model, workspace, system, nullptr, {static_cast<int>(property), values.data(), handed.data()}, &back);
  }
  for (int term = 0; term < model.n_terms() && !model.needs().sums; ++term) {
    const auto m = static_cast<std::size_t>(soapgap::n_sparse(model, term));
    std::vector<double> energy(m), gradients(3 * n * m), strain(6 * m), local(n * m);
    if (m > 0) soapgap::rows(model, workspace, term, system, {energy.data(), gradients.data(), strain.data(), local.data()});
  }
}

int survive(const char *models, const char *structures) {
  std::ifstream file(models, std::ios::binary), structures_file(structures);
  Structure structure;
  require(read_structure(structures_file, structure), "the structures file is empty");
  int n_refused = 0, n_used = 0;
  std::uint64_t size = 0;
  while (file.read(reinterpret_cast<char *>(&size), sizeof(size))) {
    std::string bytes(size, '\0');
    require(bool(file.read(&bytes[0], static_cast<std::streamsize>(size))), "the models file is too short");
    try {
      const soapgap::Model model = soapgap::Model::from_bytes(bytes.data(), bytes.size());
      ++n_used;
      use(model, structure);
    } catch (const soapgap::Error &) {
      ++n_refused;
    }
  }
  std::cout << n_used << " read, " << n_refused << " refused\n";
  return 0;
}

}  // namespace

int main(int argc, char **argv) try {
  if (argc == 4 && std::string(argv[1]) == "--survive") return survive(argv[2], argv[3]);
  require(argc == 3, "usage: soapgap_selftest MODEL STRUCTURES");
  std::ifstream model_file(argv[1], std::ios::binary), structures(argv[2]);
  const std::string bytes((std::istreambuf_iterator<char>(model_file)), std::istreambuf_iterator<char>());
  const soapgap::Model model = soapgap::Model::from_bytes(bytes.data(), bytes.size());
  int n = 0;
  while (one_structure(model, structures)) ++n;
  for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 50) {
    bool refused = false;
    try {
      soapgap::Model::from_bytes(bytes.data(), size);
    } catch (const soapgap::Error &) {
      refused = true;
    }
    require(refused, "a truncated model was accepted");
  }
  std::cout << "ok " << n << " structures\n";
  return 0;
} catch (const std::exception &error) {
  std::cerr << error.what() << "\n";
  return 1;
}
