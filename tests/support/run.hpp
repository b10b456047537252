#pragma once

#include <chrono>
#include <optional>
#include <utility>

#include "src/base/async.hpp"

namespace cl::test {

using namespace std::chrono_literals;

/// Runs a coroutine on an io_context of its own and returns what it returned or throws what it threw.
/// Instead of hanging it throws "did not finish" after `limit`. What else was spawned on the same
/// executor and still runs then is destroyed with the io_context.
///
/// ASSERT_* cannot be used inside a coroutine: return the value and assert on it outside.
void run(asio::awaitable<void> work, std::chrono::seconds limit = 10s);

template <class T>
T run(asio::awaitable<T> work, std::chrono::seconds limit = 10s) {
  std::optional<T> value;
  run(store(std::move(work), value), limit);
  return std::move(*value);
}

}  // namespace cl::test
