#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/local/stream_protocol.hpp>
#include <memory>
#include <optional>
#include <string>

#include "provision/channel/agent.hpp"
#include "src/base/child.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/task_group.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

/// The host's half and the real agent, a child of this process, over a socket pair: directly, and through a relay that
/// hands on a few bytes at a time.
namespace cl::test {

using Local = asio::local::stream_protocol;
using StreamPtr = std::unique_ptr<ByteStream>;

struct Pair {
  UniqueFd ours, theirs;
  Pair() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw io_error("socketpair", errno);
    ours.reset(ends[0]);
    theirs.reset(ends[1]);
  }
};

inline asio::awaitable<void> pump(ByteStream& from, ByteStream& to) {
  std::array<char, 64 * 1024> space;
  try {
    for (;;) {
      const std::size_t got = co_await from.read_some(space);
      if (got == 0) break;
      co_await to.write(std::span<const char>(space).first(got));
    }
    co_await to.shutdown_write();
  } catch (const Error&) {
    to.close();
  }
}

struct Bed {
  explicit Bed(asio::any_io_executor ex, bool split = false) : executor(ex), acceptor(ex), tasks(ex) {
    path = directory / "socket";
    acceptor.open(Local());
    acceptor.bind(Local::endpoint(path.string()));
    acceptor.listen(4096);
    Pair pair;
    Command command;
    command.argv = {COLIMA_LIKE_AGENT, "--stdio"};
    command.input = command.output = pair.theirs.get();
    child.emplace(Child::start(ex, command));
    UniqueFd ours = std::move(pair.ours);
    if (split) {
      Pair near;
      left = choppy(stream_of(std::move(ours)), {97, 61});
      right = choppy(stream_of(std::move(near.theirs)), {53, 211});
      tasks.spawn("there", pump(*right, *left));
      tasks.spawn("back", pump(*left, *right));
      ours = std::move(near.ours);
    }
    agent = Agent::start(ex, Transport(std::move(ours)));
  }
  StreamPtr stream_of(UniqueFd fd) {
    Local::socket socket(executor, Local(), fd.release());
    return std::make_unique<SocketStream>(SocketStream::Socket(std::move(socket)));
  }
  asio::awaitable<StreamPtr> open() {
    auto stream = co_await agent->open_unix(path.string());
    co_return stream;
  }
  asio::awaitable<StreamPtr> accept() {
    auto socket = co_await acceptor.async_accept(asio::use_awaitable);
    co_return std::make_unique<SocketStream>(SocketStream::Socket(std::move(socket)));
  }
  asio::awaitable<void> end() {
    agent->stop();
    co_await tasks.stop();
    if (left) left->close();
    co_await child->wait();  // it ends with its input
  }

  asio::any_io_executor executor;
  TempDir directory;
  std::filesystem::path path;
  Local::acceptor acceptor;
  StreamPtr left, right;
  std::optional<Child> child;
  std::shared_ptr<Agent> agent;
  TaskGroup tasks;
};

/// "CODE: MESSAGE", or "no failure".
template <class T>
asio::awaitable<std::string> failure_of(asio::awaitable<T> work) {
  try {
    co_await std::move(work);
  } catch (const Error& error) {
    co_return std::string(to_string(error.code())) + ": " + one_line(error);
  }
  co_return "no failure";
}

}  // namespace cl::test
