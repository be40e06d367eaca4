// Sorting one centre's neighbours for the hot loops. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <vector>

#include "base/batch.hpp"
#include "density/source.hpp"

namespace soapgap {

// Environments of one batch of centres, in one allocation that is reused.
class EnvironmentBatch {
 public:
  // Keeps neighbours of a known species with r < cutoff; throws Error on a vector that is not finite.
  void fill(const Source &, const Neighbours &, const Batch &);
  int size() const { return n_centres_; }
  int largest() const { return largest_; }  // most neighbours of one centre, filling included
  Environment operator[](int i) const;

 private:
  struct Place {
    int begin, n_padded;
  };
  void add_centre(const Source &, const Neighbours &, std::int64_t centre);
  int n_centres_ = 0, n_groups_ = 0, largest_ = 0;
  std::vector<Place> places_;
  std::vector<int> first_, count_;
  std::vector<double> r_, x_, y_, z_;
  std::vector<std::int64_t> pair_;
};

}  // namespace soapgap
