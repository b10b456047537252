#pragma once

#include <fcntl.h>
#include <sys/file.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <mutex>
#include <thread>

#include "profiles/state.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/task_group.hpp"
#include "src/base/unique_fd.hpp"
#include "src/rpc/connection.hpp"

namespace cl::cli {

/// What the command line takes for the daemon of a running machine: it holds the kernel locks, and answers every verb
/// with success and an "exec" with an exit code.
class StandInDaemon {
 public:
  StandInDaemon(const ProfilePaths& paths, int exit_code)
      : daemon_lock_(*FileLock::try_acquire(paths.lock)),
        machine_lock_(*FileLock::try_acquire(paths.machine_lock)),
        exit_code_(exit_code),
        acceptor_(io_, asio::local::stream_protocol::endpoint(paths.control_socket.string())) {
    asio::co_spawn(io_, serve(), asio::detached);
    thread_ = std::thread([this] { io_.run(); });
  }
  ~StandInDaemon() {
    asio::post(io_, [this] { io_.stop(); });
    thread_.join();
  }
  std::vector<std::string> verbs() {
    const std::lock_guard hold(mutex_);
    return verbs_;
  }

  /// What it says of published ports from now on.
  void publish(std::vector<rpc::PublishedPort> ports) {
    const std::lock_guard hold(mutex_);
    ports_.ports = std::move(ports);
  }
  /// What it says of forwards from now on.
  void forward(std::vector<rpc::OpenForward> forwards) {
    const std::lock_guard hold(mutex_);
    forwards_.forwards = std::move(forwards);
  }
  /// What it knows and cannot write: `status` asks it from now on.
  void know(const ProfilePaths& paths, const State& state, std::string unsaved) {
    unsaved_mark_.reset(::open(paths.run_directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ::flock(unsaved_mark_.get(), LOCK_EX | LOCK_NB);
    const std::lock_guard hold(mutex_);
    known_ = {state_text(state), std::move(unsaved)};
  }
  /// Answers everything with this from now on.
  void fail(const Error& error) {
    const std::lock_guard hold(mutex_);
    failure_ = error;
  }

 private:
  rpc::Answer answer_to(const rpc::Request& request) {
    const std::lock_guard hold(mutex_);
    if (failure_) return *failure_;
    if (std::holds_alternative<rpc::Exec>(request)) return rpc::json::object{};
    if (std::holds_alternative<rpc::Ports>(request)) return rpc::to_object(ports_);
    if (std::holds_alternative<rpc::Forwards>(request)) return rpc::to_object(forwards_);
    if (std::holds_alternative<rpc::Describe>(request)) return rpc::to_object(known_);
    return rpc::to_object(rpc::Told{"done", {}});
  }
  asio::awaitable<void> serve() {
    for (;;) {
      auto socket = co_await acceptor_.async_accept(asio::use_awaitable);
      asio::co_spawn(io_, answer(rpc::Connection(std::move(socket))), asio::detached);
    }
  }
  asio::awaitable<void> answer(rpc::Connection connection) {
    co_await connection.write_line(std::string(rpc::greeting));
    auto request = co_await connection.read_request();
    if (!request) co_return;
    {
      const std::lock_guard hold(mutex_);
      verbs_.emplace_back(rpc::verb_of(*request));
    }
    const bool is_exec = std::holds_alternative<rpc::Exec>(*request);
    rpc::Answer answer = answer_to(*request);
    co_await connection.answer(std::move(answer));
    if (is_exec) {
      rpc::Frame last{rpc::Frame::Kind::exit, std::to_string(exit_code_)};
      co_await connection.write_frame(std::move(last));
    }
    co_await connection.read_frame();  // until the other end goes
  }

  FileLock daemon_lock_, machine_lock_;
  int exit_code_;
  asio::io_context io_;
  asio::local::stream_protocol::acceptor acceptor_;
  std::mutex mutex_;
  std::vector<std::string> verbs_;
  rpc::PublishedPorts ports_;
  rpc::OpenForwards forwards_;
  rpc::Known known_;
  UniqueFd unsaved_mark_;
  std::optional<Error> failure_;
  std::thread thread_;
};

}  // namespace cl::cli
