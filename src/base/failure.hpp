#pragma once

#include <exception>
#include <optional>
#include <string>

#include "src/base/async.hpp"
#include "src/base/error.hpp"

/// One border for exceptions of every kind: std::filesystem, Boost and the standard library throw others than
/// cl::Error.
namespace cl {

/// Whether this is the end of a coroutine that was cancelled, which is no failure and must be passed on.
bool is_cancellation(const std::exception_ptr& failure) noexcept;

/// Runs `work`; returns what it failed with, or nothing. A cancellation is thrown on.
asio::awaitable<std::optional<Error>> failure_of(asio::awaitable<void> work);

/// Runs `work`, whose failure is only logged. A cancellation is thrown on.
asio::awaitable<void> attempt(std::string what, asio::awaitable<void> work);

}  // namespace cl
