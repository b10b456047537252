#include "src/base/failure.hpp"

#include "src/base/log.hpp"

namespace cl {

bool is_cancellation(const std::exception_ptr& failure) noexcept {
  try {
    std::rethrow_exception(failure);
  } catch (const boost::system::system_error& error) {
    return error.code() == asio::error::operation_aborted;
  } catch (...) {
    return false;
  }
}

asio::awaitable<std::optional<Error>> failure_of(asio::awaitable<void> work) {
  std::exception_ptr failure;
  try {
    co_await std::move(work);
    co_return std::nullopt;
  } catch (...) {
    failure = std::current_exception();
  }
  if (is_cancellation(failure)) std::rethrow_exception(failure);
  co_return error_of(failure);
}

asio::awaitable<void> attempt(std::string what, asio::awaitable<void> work) {
  const auto failure = co_await failure_of(std::move(work));
  if (failure) log::warn("{}: {}", what, one_line(*failure));
}

}  // namespace cl
