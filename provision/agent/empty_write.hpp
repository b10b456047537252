#pragma once

#include <cstddef>

#include "src/base/unique_fd.hpp"

struct io_uring_sqe;

namespace cl::agent {

/// A write of no bytes that those who watch a file are told of. write(2) tells nobody, io_uring does (io_req_io_end()
/// in the kernel's io_uring/rw.c); neither reaches the file system.
class EmptyWrite {
 public:
  EmptyWrite();
  EmptyWrite(const EmptyWrite&) = delete;
  EmptyWrite& operator=(const EmptyWrite&) = delete;
  ~EmptyWrite();
  /// False where the kernel has no such thing, or does not let us.
  bool operator()(int fd);

 private:
  struct Mapping {
    void* at = nullptr;
    std::size_t size = 0;
  };
  Mapping map(std::size_t size, unsigned long long offset);
  unsigned* word(unsigned offset) const;

  UniqueFd ring_;
  Mapping rings_, entries_;
  unsigned tail_ = 0, mask_ = 0, array_ = 0;                    // offsets of submissions
  unsigned head_ = 0, done_ = 0, done_mask_ = 0, results_ = 0;  // and of completions
};

}  // namespace cl::agent
