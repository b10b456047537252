#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "src/base/async.hpp"

namespace cl::test {

using namespace std::chrono_literals;

/// Runs a coroutine on an io_context of its own and returns what it returned or throws what it threw.
/// Instead of hanging it throws "did not finish" after `limit`. What else was spawned on the same
/// executor and still runs then is destroyed with the io_context.
///
/// ASSERT_* cannot be used inside a coroutine: return the value and assert on it outside.
template <class T>
T run(asio::awaitable<T> work, std::chrono::seconds limit = 10s) {
  std::exception_ptr failure;
  bool done = false;
  // After the results, so that frames destroyed with it find them alive.
  auto finish = [&](asio::io_context& io, std::exception_ptr thrown) {
    failure = std::move(thrown);
    done = true;
    io.stop();
  };
  auto check = [&] {
    if (!done) throw std::runtime_error("did not finish within " + std::to_string(limit.count()) + " s");
    if (failure) std::rethrow_exception(failure);
  };
  if constexpr (std::is_void_v<T>) {
    asio::io_context io(1);
    asio::co_spawn(io, std::move(work), [&](std::exception_ptr thrown) { finish(io, std::move(thrown)); });
    io.run_for(limit);
    check();
  } else {
    std::optional<T> value;
    asio::io_context io(1);
    asio::co_spawn(io, std::move(work), [&](std::exception_ptr thrown, T result) {
      value.emplace(std::move(result));
      finish(io, std::move(thrown));
    });
    io.run_for(limit);
    check();
    return std::move(*value);
  }
}

}  // namespace cl::test
