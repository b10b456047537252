// Whatever an SSH server in the guest sends, its root's own program: libssh2 behind our pump understands or refuses it,
// within bounds, and every call of ours ends. The first byte says how far the server is a sound one. Then come records
// of what it sends: a kind, a length in two bytes, and so many bytes.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <string_view>

#include "provision/ssh/session.hpp"
#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "src/base/task_group.hpp"
#include "tests/fuzz/growth.hpp"
#include "tests/fuzz/ssh_server.hpp"

// libssh2 1.10 loses some objects of a session that ends within its keys. What is lost by the megabyte growth.hpp sees.
extern "C" const char* __asan_default_options();                              // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }  // NOLINT(bugprone-reserved-identifier)

namespace {

using namespace cl;
using fuzz::SshServer;

const SshLogin& login() {
  static const SshLogin one = [] {
    char name[] = "/tmp/ssh_fuzzer.XXXXXX";
    const int file = ::mkstemp(name);
    const std::string key = SshServer::user_private_key();
    if (file < 0 || ::write(file, key.data(), key.size()) != static_cast<ssize_t>(key.size())) std::abort();
    ::close(file);
    static std::string kept;
    kept = name;
    std::atexit([] { ::unlink(kept.c_str()); });
    SshLogin login;
    login.user = "root";
    login.private_key = name;
    login.host_key = SshServer::host_key();
    return login;
  }();
  return one;
}

asio::awaitable<void> use_stream(SshGuest& guest) {
  try {
    auto stream = co_await guest.open_unix("/x");
    std::string space(1000, 'x');
    for (int i = 0; i < 3; ++i) {
      co_await stream->write(space);
      if (co_await stream->read_some(space) == 0) break;
    }
    co_await stream->shutdown_write();
    while (co_await stream->read_some(space) > 0) {
    }
  } catch (const Error&) {
  }
}

asio::awaitable<void> use_process(SshGuest& guest) {
  try {
    ExecRequest request;
    request.command = "x";
    request.terminal = TerminalSize{};
    auto process = co_await guest.exec(std::move(request));
    std::string space(1000, 'x');
    while (co_await process->io().read_some(space) > 0) {
    }
    while (co_await process->read_errors(space) > 0) {
    }
    co_await process->wait_exit();
  } catch (const Error&) {
  }
}

asio::awaitable<void> use_guest(Transport transport, TaskGroup& tasks, std::unique_ptr<SshGuest>& guest,
                                bool& logged_in) {
  try {
    guest = co_await connect_ssh(std::move(transport), login());
    logged_in = true;
    tasks.spawn("stream", use_stream(*guest));
    tasks.spawn("process", use_process(*guest));
    tasks.spawn("stream", use_stream(*guest));
  } catch (const Error&) {
  }
}

/// One session: the server's end of a socket, by turns with the client's loop.
class Session {
 public:
  explicit Session(SshServer::Stage last) : tasks_(io_.get_executor()) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    ours_.reset(ends[1]);
    server_.stop_at(last);
    tasks_.spawn("guest", use_guest(Transport(UniqueFd(ends[0])), tasks_, guest_, logged_in_));
    answer();
  }
  /// Until neither has anything to say.
  void answer() {
    for (bool more = true; more;) {
      io_.restart();
      io_.poll();
      static char space[256 * 1024];
      const ssize_t got = ::recv(ours_.get(), space, sizeof space, 0);
      const std::string said = server_.answer({space, got > 0 ? static_cast<std::size_t>(got) : 0});
      send(said);
      more = got > 0 || !said.empty();
    }
    growth_.check();
  }
  void send(std::string_view bytes) const { (void)!::send(ours_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  SshServer& server() { return server_; }
  bool logged_in() const { return logged_in_; }
  void end() {
    ours_.reset();
    io_.restart();
    io_.poll();
    asio::co_spawn(io_, tasks_.stop(), [](std::exception_ptr) {});
    io_.restart();
    io_.run();
    guest_.reset();
    io_.restart();
    io_.poll();
  }

 private:
  asio::io_context io_{1};
  fuzz::Growth growth_{8U << 20U};  // three channels of 1.6 MiB, and the pump's buffers
  SshServer server_;
  UniqueFd ours_;
  std::unique_ptr<SshGuest> guest_;
  bool logged_in_ = false;
  TaskGroup tasks_;
};

}  // namespace

/// The assertion of libssh2 1.10 that is known (docs/security.md) ends a run early, and not as a fault that is new.
extern "C" void __assert_fail(const char* expression, const char* file, unsigned line, const char* function) noexcept {
  std::fprintf(stderr, "%s:%u: %s: assertion '%s'\n", file, line, function, expression);
  const bool is_known = std::string_view(function) == "decrypt" && std::string_view(file) == "transport.c";
  if (is_known) std::_Exit(0);
  std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A server that is sound lets us in, or nothing below this would be reached.
  static const bool sound = [] {
    Session session(SshServer::Stage::channels);
    const bool logged_in = session.logged_in();
    session.end();
    return logged_in;
  }();
  if (!sound) std::abort();
  if (size == 0) return 0;
  Session session(static_cast<SshServer::Stage>(std::min<int>(data[0] % 8, 4)));
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  while (rest.size() >= 3) {
    const char kind = rest[0];
    const std::size_t length = static_cast<unsigned char>(rest[1]) << 8U | static_cast<unsigned char>(rest[2]);
    const std::string_view bytes = rest.substr(3, length);
    rest.remove_prefix(3 + bytes.size());
    SshServer& server = session.server();
    if (kind == 'r') {
      session.send(bytes);
    } else if (kind == 'l' && bytes.size() >= 5) {
      std::uint32_t says = 0;
      for (int i = 0; i < 4; ++i) says = says << 8U | static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
      session.send(server.packet_that_says(says, static_cast<std::uint8_t>(bytes[4]), bytes.substr(5)));
    } else {
      session.send(server.packet(bytes));
    }
    session.answer();
  }
  session.end();
  return 0;
}
