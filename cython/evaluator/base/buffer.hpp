// A growing, 64-byte aligned array of doubles. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace soapgap {

// Contents are lost when it grows; memory is only given back by the destructor.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t n) { reserve(n); }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  Buffer(Buffer &&other) noexcept : data_(other.data_), capacity_(other.capacity_) {
    other.data_ = nullptr;
    other.capacity_ = 0;
  }
  Buffer &operator=(Buffer &&other) noexcept {
    if (this != &other) {
      std::free(data_);
      data_ = other.data_;
      capacity_ = other.capacity_;
      other.data_ = nullptr;
      other.capacity_ = 0;
    }
    return *this;
  }

  // At least n doubles; the pointer stays valid until the next call that asks for more.
  double *reserve(std::size_t n) {
    if (n > capacity_) {
      std::free(data_);
      data_ = nullptr;
      capacity_ = 0;
      const std::size_t rounded = (n + 7) / 8 * 8;
      void *fresh = std::aligned_alloc(64, rounded * sizeof(double));
      if (!fresh) throw std::bad_alloc();
      data_ = static_cast<double *>(fresh);
      capacity_ = rounded;
    }
    return data_;
  }
  double *data() { return data_; }
  const double *data() const { return data_; }

 private:
  double *data_ = nullptr;
  std::size_t capacity_ = 0;
};

}  // namespace soapgap
