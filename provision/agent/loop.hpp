#pragma once

#include <cstdint>

#include "src/base/unique_fd.hpp"

namespace cl::agent {

/// Who is told when a descriptor becomes ready. It must stay until the end of the turn in which it was removed.
class Watched {
 public:
  virtual ~Watched() = default;
  /// `events` as in epoll(7). Each change is told once: what is ready is to be used until it is not, or remembered.
  virtual void ready(std::uint32_t events) = 0;
};

/// An epoll set. A change is told once (edge-triggered), so nothing is registered anew while a program runs, and a port
/// of a machine whose host is away wakes nobody.
class Loop {
 public:
  Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// For input and output. False, with errno, when the descriptor cannot be waited for.
  [[nodiscard]] bool add(int fd, Watched& watched);
  void remove(int fd);
  /// Tells who became ready within `milliseconds`; -1 = however long that takes.
  void wait(int milliseconds);

 private:
  UniqueFd set_;
};

}  // namespace cl::agent
