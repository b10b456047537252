#pragma once

#include <cstddef>

#include "src/base/async.hpp"

namespace cl {

/// Counts who is inside an object's functions: it must not go while somebody is.
class Visits {
 public:
  explicit Visits(const asio::any_io_executor& executor) : left_(executor) {}

  class Visit {
   public:
    explicit Visit(Visits& all) : all_(all) { ++all_.count_; }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;
    ~Visit() {
      if (--all_.count_ == 0) all_.left_.notify_all();
    }

   private:
    Visits& all_;
  };

  /// Returns when nobody is inside any more.
  asio::awaitable<void> over() {
    while (count_ > 0) co_await left_.wait();
  }

 private:
  std::size_t count_ = 0;
  Notifier left_;
};

}  // namespace cl
