#include "src/daemon/state_store.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <utility>

#include "src/base/blocking.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"

namespace cl {

StateStore::StateStore(asio::any_io_executor executor, const FileLock&, ProfilePaths paths)
    : StateStore(std::move(executor), std::move(paths), &write_state, Timings()) {}

StateStore::StateStore(asio::any_io_executor executor, ProfilePaths paths, Write write, Timings timings)
    : paths_(std::move(paths)),
      write_(std::move(write)),
      timings_(timings),
      edited_(executor),
      tried_once_(executor),
      retry_(executor),
      tasks_(executor) {
  if (auto saved = load_state(paths_)) state_ = std::move(*saved);
}

State& StateStore::edit() noexcept {
  ++edits_;
  edited_.notify_all();
  return state_;
}

/// Of the whole state as it is now, which a thread takes along. Returns why it failed.
asio::awaitable<std::string> StateStore::write_once() {
  const std::uint64_t number = edits_;
  auto work = [write = write_, paths = paths_, state = state_] { write(paths, state); };
  failure_.reset();
  try {
    co_await blocking(std::move(work));
  } catch (const Error& error) {
    failure_ = error;
  } catch (const boost::system::system_error& error) {
    if (error.code() == asio::error::operation_aborted) throw;
    failure_ = Error(Errc::io, "cannot write " + paths_.state.string()).because(error.what());
  } catch (const std::exception& error) {
    failure_ = Error(Errc::io, "cannot write " + paths_.state.string()).because(error.what());
  }
  ++tries_;
  tried_ = number;
  if (!failure_) written_ = number;
  co_return failure_ ? one_line(*failure_) : std::string();
}

asio::awaitable<void> StateStore::keep_written() {
  auto pause = timings_.first_retry;
  for (;;) {
    while (written_ == edits_) co_await edited_.wait();
    const std::string failure = co_await write_once();
    if (failure != unsaved_) mark(failure);
    tried_once_.notify_all();
    if (on_tried_) on_tried_();
    if (failure.empty()) {
      pause = timings_.first_retry;
      continue;
    }
    if (tried_ >= asked_for_) co_await wait_for_retry(pause);
    pause = std::min(2 * pause, timings_.longest_retry);
  }
}

/// flush() cuts it short.
asio::awaitable<void> StateStore::wait_for_retry(std::chrono::milliseconds pause) {
  retry_.expires_after(pause);
  co_await retry_.async_wait(no_throw);
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none)
    throw boost::system::system_error(asio::error::operation_aborted);
}

/// A lock needs no space on the disk, so it can tell others of a disk that is full.
void StateStore::mark(const std::string& failure) noexcept {
  if (failure.empty()) {
    log::info("the state is saved again");
  } else {
    log::error("the state is not saved: {}", failure);
  }
  unsaved_ = failure;
  if (!mark_) mark_.reset(::open(paths_.run_directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (mark_) ::flock(mark_.get(), failure.empty() ? LOCK_UN : LOCK_EX | LOCK_NB);
}

bool StateStore::is_behind() const noexcept {
  std::error_code gone;
  return !stopped_ && !unsaved_.empty() && std::filesystem::exists(paths_.directory, gone);
}

asio::awaitable<void> StateStore::flush() {
  const std::uint64_t wanted = edits_;
  const std::uint64_t before = tries_;
  asked_for_ = wanted;
  retry_.cancel();
  while (written_ < wanted && !(tries_ > before && tried_ >= wanted && failure_)) co_await tried_once_.wait();
  if (written_ < wanted && failure_) throw *failure_;
}

asio::awaitable<void> StateStore::try_flush(std::chrono::milliseconds limit) {
  if (written_ == edits_ || stopped_) co_return;
  const auto failure = co_await failure_of(with_timeout(limit, "writing the state", flush()));
  if (failure) log::debug("{}", one_line(*failure));  // unsaved() says it to whoever asks
}

asio::awaitable<void> StateStore::stop() {
  stopped_ = true;
  co_await tasks_.stop();
}

}  // namespace cl
