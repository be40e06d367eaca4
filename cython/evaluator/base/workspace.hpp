// Buffers of the threads. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <memory>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "base/phases.hpp"

namespace soapgap {

// What one thread keeps between calls: every kind of term has a struct of buffers of its own, made at its first use.
class ThreadBuffers {
 public:
  template <class T>
  T &of() {
    std::shared_ptr<void> &kept = kept_[std::type_index(typeid(T))];
    if (!kept) kept = std::make_shared<T>();
    return *static_cast<T *>(kept.get());
  }
  Stopwatch watch;

 private:
  std::unordered_map<std::type_index, std::shared_ptr<void>> kept_;
};

struct WorkspaceData {
  std::vector<ThreadBuffers> threads;
};

}  // namespace soapgap
