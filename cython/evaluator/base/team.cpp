// SPDX-License-Identifier: BSD-3-Clause
#include "base/team.hpp"

#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>

#include <atomic>
#endif

namespace soapgap {

int team_size(int n_threads) {
#ifdef _OPENMP
  static std::atomic<bool> had_team{false}, lost_team{false};
  static const int registered = pthread_atfork(nullptr, nullptr, [] { lost_team = had_team.load(); });
  (void)registered;
  if (n_threads > 1 && !lost_team) had_team = true;
  return lost_team ? 1 : n_threads;
#else
  return n_threads;
#endif
}

int thread_number() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

}  // namespace soapgap
