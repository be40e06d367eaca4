// Where the time of an evaluation goes, behind SOAPGAP_PROFILE=1. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <chrono>
#include <cstdlib>

namespace soapgap {

enum Phase { sorting, expansion, spectrum, kernel_products, spectrum_back, expansion_back, n_phases };
inline const char *phase_name(int phase) {
  static const char *const names[n_phases] = {"neighbours sorted",          "density expansion", "power spectrum",
                                              "kernel",                     "power spectrum, back",
                                              "density expansion, back"};
  return names[phase];
}

// One thread's stopwatch. Off, it costs one predictable branch per phase and centre.
class Stopwatch {
 public:
  bool on() const { return on_; }
  void start() {
    if (on_) last_ = Clock::now();
  }
  // Ends a phase; the next one begins here.
  void lap(Phase phase) {
    if (!on_) return;
    const Clock::time_point now = Clock::now();
    seconds_[phase] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  double seconds(int phase) const { return seconds_[phase]; }

 private:
  static bool asked_for() {
    const char *value = std::getenv("SOAPGAP_PROFILE");
    return value && *value && *value != '0';
  }
  using Clock = std::chrono::steady_clock;
  bool on_ = asked_for();
  Clock::time_point last_;
  std::array<double, n_phases> seconds_ = {};
};

}  // namespace soapgap
