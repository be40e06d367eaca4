// A loop shared out among threads. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <exception>

namespace soapgap {

// Threads that an OpenMP region may have: n_threads, or 1 in a process that was forked after such a region. It has lost the
// team that the runtime thinks it has, and would wait for it without end.
int team_size(int n_threads);

// The number of the calling thread within its region.
int thread_number();

// An exception may not leave an OpenMP region: the first one is kept and thrown after it.
class FirstError {
 public:
  template <class Function>
  void guard(Function f) {
    try {
      f();
    } catch (...) {
#pragma omp critical(soapgap_first_error)
      if (!error_) error_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
};

// f(k, thread) for k = 0 .. n-1, each once, in any order; what one of them throws is thrown.
template <class Function>
void share_out(std::int64_t n, int n_threads, Function f) {
  const int n_team = team_size(n_threads);
  (void)n_team;
  FirstError error;
#pragma omp parallel for schedule(dynamic) num_threads(n_team)
  for (std::int64_t k = 0; k < n; ++k) error.guard([&] { f(k, thread_number()); });
  error.rethrow();
}

}  // namespace soapgap
