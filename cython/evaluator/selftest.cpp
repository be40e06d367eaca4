// Runs the public surface over structures from a text file, for sanitizers. SPDX-License-Identifier: BSD-3-Clause
//
//   soapgap_selftest MODEL STRUCTURES
// Checks that pairs are sorted, that one and two threads agree, that forces sum to zero, and that truncated models are refused.
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

bool one_structure(const soapgap::Model &model, std::ifstream &file) {
  std::size_t n = 0, n_pairs = 0;
  if (!(file >> n >> n_pairs)) return false;
  const auto centre_species = read<std::int32_t>(file, n);
  const auto offsets = read<std::int64_t>(file, n + 1);
  const auto neighbour_species = read<std::int32_t>(file, n_pairs);
  const auto centre_atom = read<std::int64_t>(file, n), neighbour_atom = read<std::int64_t>(file, n_pairs);
  const auto vectors = read<double>(file, 3 * n_pairs);
  require(bool(file), "the structures file is too short");
  check_pairs(offsets, neighbour_atom);
  soapgap::Neighbours nb;
  nb.n_centres = static_cast<std::int64_t>(n);
  nb.centre_species = centre_species.data();
  nb.offsets = offsets.data();
  nb.neighbour_species = neighbour_species.data();
  nb.vectors = vectors.data();

  std::vector<double> e1(n), e2(n), g1(3 * n_pairs), g2(3 * n_pairs), forces(3 * n), virial(9);
  soapgap::Workspace one(1), two(2);
  soapgap::evaluate(model, one, nb, e1.data(), g1.data());
  soapgap::evaluate(model, two, nb, e2.data(), g2.data());
  for (std::size_t i = 0; i < n; ++i) require(std::abs(e1[i] - e2[i]) < 1e-10, "threads change the energy");
  soapgap::evaluate(model, one, nb, e2.data(), nullptr);
  for (std::size_t i = 0; i < n; ++i) require(std::abs(e1[i] - e2[i]) < 1e-10, "energies alone differ");
  soapgap::add_forces(nb, g1.data(), centre_atom.data(), neighbour_atom.data(), forces.data(), virial.data());
  for (int a = 0; a < 3; ++a) {
    double sum = 0.0;
    for (std::size_t i = 0; i < n; ++i) sum += forces[3 * i + a];
    require(std::abs(sum) < 1e-9, "forces do not sum to zero");
  }
  std::vector<double> shares(n_pairs + 1);
  soapgap::evaluate(model, one, nb, e2.data(), g2.data(), shares.data());
  double difference = 0.0;
  for (std::size_t i = 0; i < n; ++i) difference += e2[i] - e1[i];
  for (std::size_t p = 0; p < n_pairs; ++p) difference += shares[p];
  require(std::abs(difference) < 1e-9, "shares change the energy");
  for (int term = 0; term < model.n_terms(); ++term) {
    if (!soapgap::is_soap(model, term)) continue;
    const std::size_t m = soapgap::n_sparse(model, term);
    std::vector<double> energy(m), rows(3 * n * m), strain(6 * m), x(n * soapgap::n_features(model, term)), c(n << 16);
    soapgap::features(model, one, term, nb, x.data());
    soapgap::density_coefficients(model, one, term, nb, c.data());
    soapgap::kernel_rows(model, one, term, nb, centre_atom.data(), neighbour_atom.data(), energy.data(), rows.data(),
                         strain.data());
  }
  return true;
}

}  // namespace

int main(int argc, char **argv) try {
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
