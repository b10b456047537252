#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/base/async.hpp"
#include "src/rpc/message.hpp"

namespace cl {

/// Something long that the daemon does once while any number of commands watch: a start, the takeover of a running
/// machine, a suspend, a stop, a delete.
/// Its phases are kept, so that a command which joins late is told everything.
class Job : public std::enable_shared_from_this<Job> {
 public:
  enum class Kind { start, attach, apply, suspend, stop, remove };
  using Work = std::function<asio::awaitable<boost::json::object>(Job&)>;

  /// Starts `work` at once. It has to wait for `before`, a job that may still be under way, before it touches anything.
  static std::shared_ptr<Job> run(const asio::any_io_executor& executor, Kind kind, Work work,
                                  std::shared_ptr<Job> before = {});

  Kind kind() const noexcept { return kind_; }
  bool done() const noexcept { return done_; }
  bool cancelled() const noexcept { return cancelled_; }

  // For the work: phases do not overlap; begin() ends an open one with its own text.
  void begin(std::string phase, std::string text);
  /// A newer text for the phase that runs.
  void say(std::string text);
  /// Ends the phase, or tells the text alone when there is none; an empty text repeats the last one.
  void end(std::string text = {});

  /// The job that was under way when this one began, until this one ends; may be null.
  std::shared_ptr<Job> before() const noexcept { return before_; }

  /// Interrupts the work; it cleans up and ends with Error{cancelled}.
  void cancel();
  /// Interrupts it, and those that it waits for.
  void cancel_with_those_before();

  /// For watchers: the next line after the one numbered `position`, which is then advanced; nothing once the job has
  /// ended. Who begins with 0 is told every phase, and of each the newest text.
  asio::awaitable<std::optional<rpc::Progress>> next(std::size_t& position);
  /// Waits for the end, however it ends.
  asio::awaitable<void> ended();
  /// Waits for the end; returns the work's result or throws its error.
  asio::awaitable<boost::json::object> result();

  Job(const asio::any_io_executor& executor, Kind kind);

 private:
  using Clock = std::chrono::steady_clock;
  void tell(bool phase_done);

  Kind kind_;
  std::shared_ptr<Job> before_;
  Notifier changed_;
  asio::cancellation_signal cancel_;
  bool cancelled_ = false;
  bool done_ = false;
  std::string phase_, text_;
  Clock::time_point began_;
  struct Line {
    std::size_t number;
    rpc::Progress progress;
  };
  std::vector<Line> told_;  ///< a newer text takes the place of an older one of the same phase
  std::size_t lines_ = 0;   ///< told so far, those included that were replaced
  boost::json::object result_;
  std::exception_ptr failure_;
};

}  // namespace cl
