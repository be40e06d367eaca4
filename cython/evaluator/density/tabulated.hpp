// Tables of radial functions as a model file has them. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <vector>

#include "density/radial_table.hpp"

namespace soapgap {

// [row][value, first, second derivative][function]
struct RadialTable {
  std::vector<Segment> segments;
  int n_functions = 0;
  std::vector<double> values;
  double stop() const { return segments.back().stop; }
  std::int64_t n_rows() const { return segments.back().first_row + segments.back().n_intervals + 1; }
};

// The functions of a table at one place. Beyond its ends a table goes on in straight lines.
class Lookup {
 public:
  struct Curve {
    double value, slope;
  };
  Lookup(const RadialTable &table, double x) : n_(table.n_functions) {
    const Segment &last = table.segments.back();
    beyond_ = x >= last.stop;
    if (beyond_) {
      row_ = table.values.data() + 3 * n_ * std::int64_t(last.first_row + last.n_intervals);
      distance_ = x - last.stop;
      return;
    }
    at_ = locate(table.segments.data(), static_cast<int>(table.segments.size()), x);
    row_ = table.values.data() + 3 * n_ * std::int64_t(at_.row);
  }
  Curve operator()(int function) const {
    const double *f = row_ + function;
    if (beyond_) return {f[0] + distance_ * f[n_], f[n_]};
    Curve curve = {0.0, 0.0};
    for (int k = 0; k < 6; ++k) {
      curve.value += at_.value[k] * f[k * n_];
      curve.slope += at_.slope[k] * f[k * n_];
    }
    return curve;
  }

 private:
  std::int64_t n_;
  bool beyond_;
  double distance_ = 0.0;
  TablePoint at_ = {};
  const double *row_;
};

}  // namespace soapgap
