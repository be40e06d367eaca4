// What is made of a centre's density coefficients: x = p / |p|, p the power spectrum. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <vector>

#include "base/coefficients.hpp"
#include "features/power_spectrum.hpp"

namespace soapgap {

// Which products of coefficients are features, as the file says it.
struct FeatureShape {
  std::vector<double> l_factors;   // of each l
  std::vector<ChannelPair> pairs;  // of functions, channel * n + n' (all l have the same n then); empty: all J <= I
  bool normalise = true;
};

// c -> x of one centre, and back.
struct Features {
  Features() = default;
  Features(Features &&) = default;  // not copied: spectrum points into the storage
  Features &operator=(Features &&) = default;
  PowerSpectrum spectrum;
  bool normalise = true;
  std::int64_t n = 0;               // features of one centre
  std::vector<std::int32_t> kept;   // those that are seen outside; empty: all
  std::int64_t n_kept = 0;          // how many they are
  std::ptrdiff_t n_scratch = 0;     // doubles of scratch that the functions below need
  // storage
  std::vector<Shell> shells;
  std::vector<int> row_of, row_start;
  std::vector<double> factor;
  std::vector<ChannelPair> pairs;
};

// All of them are kept at first.
Features make_features(const CoefficientLayout &, const FeatureShape &);

// x[n], overwritten, from c; returned is |p|. Where |p| = 0, x = 0. Without `normalise`, x is p itself.
double features_of(const Features &, const double *c, double *scratch, double *x);

// seen[n_kept] = the kept ones of x[n].
void keep(const Features &, const double *x, double *seen);

// (v - x (x . v)) / |p|, [n], which turns a derivative with respect to x into one with respect to p, and dp into dx alike; v itself
// without `normalise`. out may be v.
void project_out(const Features &, const double *x, double norm, const double *v, double *out);

// dL/dc, overwritten, from dL/dseen[n_kept]; c, x, seen and norm are those of features_of (seen: x itself if all are kept).
// dp[n] is scratch too.
void pull_back_features(const Features &, const double *c, const double *x, const double *seen, double norm,
                        const double *dl_dseen, double *scratch, double *dp, double *dl_dc);

}  // namespace soapgap
