// pair_style soapgap: SOAP/GAP potentials in LAMMPS. SPDX-License-Identifier: GPL-2.0-only
//
// A host only: it turns LAMMPS's neighbour lists into the flat arrays of soapgap.hpp and spreads the results.
// Units, signs and orders are stated there. No formula of a potential lives here.
#ifndef LMP_PAIR_SOAPGAP_H
#define LMP_PAIR_SOAPGAP_H

#include "pair.h"

#include "exclusions.h"

#include "soapgap.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class PairSoapGAP : public Pair {
 public:
  explicit PairSoapGAP(class LAMMPS *);
  ~PairSoapGAP() override;

  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void compute(int, int) override;
  void *extract(const char *, int &) override;
  double memory_usage() override;

 private:
  // A batch of centres: what evaluate() reads and writes, and which atoms its rows mean.
  struct Chunk {
    std::vector<int> centre_atom;                  // [centres] local index i
    std::vector<std::int32_t> centre_species;      // [centres]
    std::vector<std::int64_t> offsets;             // [centres + 1]
    std::vector<int> neighbour_atom;               // [pairs] local or ghost index j
    std::vector<std::int32_t> neighbour_species;   // [pairs]
    std::vector<double> vectors;                   // [pairs][3] r_j - r_i
    std::vector<double> energies;                  // [centres]
    std::vector<double> gradients;                 // [pairs][3]
    std::vector<double> shares;                    // [pairs] energy of the centre that belongs to the neighbour, where asked for
  };

  std::unique_ptr<soapgap::Model> model;
  std::unique_ptr<soapgap::Workspace> workspace;
  std::vector<int> type_species;    // [types + 1] index into model->species(), -1 for NULL
  Exclusions exclusions;            // atoms that count as deleted
  std::string mapping;              // the mapping of types that was last printed
  Chunk chunk;
  std::vector<int> sorted;          // neighbours of one centre, for models that need an order
  std::vector<double> sums;         // over all atoms, for models that need them
  double **scale;                   // [types + 1][types + 1] what fix adapt changes
  int nthreads;
  std::size_t model_bytes;

  void allocate();
  std::string read_everywhere(const std::string &);
  void load_model(const std::string &);
  void check_external(const std::string &);
  void find_external();
  void map_types(int, char **);
  void report_types();
  bool special_neighbours();
  int fill_chunk(int);
  void sort_neighbours(int, const int *);
  template <class Work>
  void for_each_chunk(Work);
  void sum_over_atoms();
  double common_scale();
  void scale_chunk(double);
  void spread_chunk();
  void refuse_not_finite();
  void tally_pair_virial(int, int, const double *, const double *);
};

}    // namespace LAMMPS_NS

#endif
