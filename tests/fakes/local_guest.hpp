#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "provision/guest.hpp"
#include "src/base/child.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/unique_fd.hpp"

/// This host as a guest: commands run here. Streams are refused, so that a test sees who was asked for one.
namespace cl::test {

class LocalProcess : public GuestProcess {
 public:
  LocalProcess(const asio::any_io_executor& executor, const std::string& command) : errors_(executor) {
    int ends[2], pipe_ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw io_error("socketpair", errno);
    if (::pipe2(pipe_ends, O_CLOEXEC) != 0) throw io_error("pipe", errno);
    const UniqueFd theirs(ends[1]), their_errors(pipe_ends[1]);
    errors_.assign(pipe_ends[0]);
    Command shell;
    shell.argv = {"sh", "-c", command};
    shell.input = shell.output = theirs.get();
    shell.errors = their_errors.get();
    child_.emplace(Child::start(executor, shell));
    asio::local::stream_protocol::socket socket(executor, asio::local::stream_protocol(), ends[0]);
    io_ = std::make_unique<SocketStream>(SocketStream::Socket(std::move(socket)));
  }
  ~LocalProcess() override { child_->kill(SIGKILL); }
  ByteStream& io() override { return *io_; }
  asio::awaitable<std::size_t> read_errors(std::span<char> space) override {
    auto [ec, got] = co_await errors_.async_read_some(asio::buffer(space.data(), space.size()), no_throw);
    if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
    co_return got;
  }
  asio::awaitable<void> resize(TerminalSize) override { co_return; }
  asio::awaitable<int> wait_exit() override { co_return (co_await child_->wait()).code; }
  pid_t pid() const { return child_->pid(); }

 private:
  std::optional<Child> child_;
  std::unique_ptr<ByteStream> io_;
  asio::posix::stream_descriptor errors_;
};

class LocalGuest : public Guest {
 public:
  explicit LocalGuest(asio::any_io_executor executor) : executor_(std::move(executor)), lost_(executor_) {}
  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest request) override {
    ++commands;
    if (rewrite) rewrite(request.command);
    auto process = std::make_unique<LocalProcess>(executor_, request.command);
    pid = process->pid();
    co_return process;
  }
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string path) override {
    throw Error(Errc::guest_failed, "SSH was asked for " + path);
    co_return nullptr;
  }
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string host, std::uint16_t) override {
    return open_unix(std::move(host));
  }
  asio::awaitable<void> lost() override { return lost_.wait(); }

  std::function<void(std::string&)> rewrite;  ///< of a command, before it runs
  int commands = 0;
  pid_t pid = 0;  ///< of the last one

 private:
  asio::any_io_executor executor_;
  Event lost_;
};

}  // namespace cl::test
