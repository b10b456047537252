#include "src/forward/socket_forward.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>

#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/net/http_error.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto accept_pause = 200ms;  // when descriptors have run out: long enough to cost nothing
constexpr auto goodbye_limit = 2s;    // for a refused client to read its answer and close
constexpr int backlog = 4096;         // the kernel lowers it to its own limit (net.core.somaxconn)

Error cannot_listen(Errc code, const std::filesystem::path& path, std::string_view cause, std::string remedy) {
  return Error(code, "cannot listen on " + path.string(), std::move(remedy)).because(cause);
}

sockaddr_un address_of(const std::filesystem::path& path) {
  if (path.native().size() > platform::max_socket_path())
    throw cannot_listen(Errc::io, path,
                        "a unix socket's path has at most " + std::to_string(platform::max_socket_path()) +
                            " bytes, this one has " + std::to_string(path.native().size()),
                        "use a shorter profile name, or set COLIMA_LIKE_HOME to a shorter path");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  return address;
}

UniqueFd unix_socket(const std::filesystem::path& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  if (!fd) throw file_error("create a socket for", path, errno);
  ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
  return fd;
}

/// Makes room at `path`: removes a socket of ours that nobody listens on, refuses everything else that is there.
void clear_stale(const std::filesystem::path& path, const sockaddr_un& address) {
  struct stat facts{};
  if (::lstat(path.c_str(), &facts) != 0) {
    const int saved = errno;
    if (saved == ENOENT) return;
    throw file_error("listen on", path, saved);
  }
  if (!S_ISSOCK(facts.st_mode))
    throw cannot_listen(Errc::io, path, "something that is no socket is there", "move it out of the way");
  if (facts.st_uid != ::geteuid())
    throw cannot_listen(Errc::io, path, "another user's socket is there", "remove it or have its owner remove it");
  const UniqueFd probe = unix_socket(path);
  // Non-blocking: a listener whose queue is full answers EAGAIN, and it is alive too.
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN ||
      errno == EINPROGRESS)
    throw cannot_listen(Errc::busy, path, "another process listens there",
                        "stop that process; 'lsof " + path.string() + "' names it");
  const int saved = errno;
  if (saved != ECONNREFUSED) throw file_error("listen on", path, saved);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw file_error("remove", path, errno);
}

UniqueFd listen_on(const std::filesystem::path& path) {
  const sockaddr_un address = address_of(path);
  clear_stale(path, address);
  UniqueFd fd = unix_socket(path);
  // The mode must hold from the first moment, so it comes from the umask and not from a later chmod. bind() never
  // replaces a file, unlike a rename from a temporary name.
  const mode_t before = ::umask(0177);
  const int bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int saved = errno;
  ::umask(before);
  if (bound != 0) {
    if (saved == EADDRINUSE) throw cannot_listen(Errc::busy, path, "another process has just taken it", "try again");
    throw file_error("listen on", path, saved);
  }
  if (::listen(fd.get(), backlog) != 0) {
    const int listen_errno = errno;
    ::unlink(path.c_str());
    throw file_error("listen on", path, listen_errno);
  }
  return fd;
}

/// Reads and drops what the client still sends until it closes. Closing with unread bytes in the socket would
/// break the connection under a client that is still writing its request, and it might not see our answer.
asio::awaitable<void> discard_rest(ByteStream& client) {
  std::array<char, 4096> space;
  while (co_await client.read_some(space) != 0) {
  }
}

asio::awaitable<void> refuse(ByteStream& client, Error error) {
  const std::string answer = http_error("503 Service Unavailable", error);
  try {
    co_await client.write(answer);
    co_await client.shutdown_write();
    co_await with_timeout(goodbye_limit, "the client's goodbye", discard_rest(client));
  } catch (const Error& gone) {
    log::debug("a refused client left early: {}", one_line(gone));
  }
}

/// The result of open(): a stream, or why there is none; neither when the client has disconnected.
struct Opened {
  std::unique_ptr<ByteStream> stream;
  std::optional<Error> failure;
};

asio::awaitable<Opened> try_open(asio::awaitable<std::unique_ptr<ByteStream>> opening) {
  Opened opened;
  try {
    opened.stream = co_await std::move(opening);
    if (!opened.stream) opened.failure = Error(Errc::internal, "the stream to the guest was not opened");
  } catch (const Error& error) {
    opened.failure = error;
  } catch (const std::exception& error) {
    opened.failure = Error(Errc::guest_failed, "the guest cannot be reached").because(error.what());
  }
  co_return opened;
}

/// Opens a stream, unless the client disconnects first.
asio::awaitable<Opened> open_for(SocketStream& client, asio::awaitable<std::unique_ptr<ByteStream>> opening) {
  auto executor = co_await asio::this_coro::executor;
  auto race =
      asio::experimental::make_parallel_group(asio::co_spawn(executor, try_open(std::move(opening)), asio::deferred),
                                              asio::co_spawn(executor, client.hung_up(), asio::deferred));
  auto [order, failure, opened, hung_up] =
      co_await race.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none)
    throw boost::system::system_error(asio::error::operation_aborted);
  if (order[0] == 1 && !hung_up) opened = Opened{};
  co_return std::move(opened);
}

}  // namespace

SocketForward::SocketForward(asio::any_io_executor executor, std::filesystem::path path, Open open, Limits limits)
    : executor_(executor),
      path_(std::move(path)),
      open_(std::move(open)),
      limits_(limits),
      acceptor_(executor),
      tasks_(executor) {
  acceptor_.assign(Unix(), listen_on(path_).release());
  struct stat facts{};
  if (::lstat(path_.c_str(), &facts) == 0) {
    device_ = static_cast<std::uint64_t>(facts.st_dev);
    inode_ = static_cast<std::uint64_t>(facts.st_ino);
  }
  counters_.since = counters_.last_activity = Clock::now();
  tasks_.spawn("listener of " + path_.string(), accept());
}

SocketForward::~SocketForward() { stop_listening(); }

void SocketForward::stop_listening() noexcept {
  if (!acceptor_.is_open()) return;
  struct stat facts{};
  const bool still_ours = ::lstat(path_.c_str(), &facts) == 0 && static_cast<std::uint64_t>(facts.st_dev) == device_ &&
                          static_cast<std::uint64_t>(facts.st_ino) == inode_;
  // The file first: whoever finds it must also find a listener.
  if (still_ours) ::unlink(path_.c_str());
  error_code ignored;
  acceptor_.close(ignored);
}

asio::awaitable<void> SocketForward::stop() {
  stop_listening();
  co_await tasks_.stop();
}

ForwardCounters ForwardCounters::with(const Traffic& traffic) const {
  ForwardCounters now = *this;
  now.from_clients = traffic.a_to_b;
  now.to_clients = traffic.b_to_a;
  now.last_activity = std::max(last_activity, traffic.last);
  return now;
}

ForwardCounters SocketForward::counters() const { return counters_.with(traffic_); }

asio::awaitable<void> SocketForward::accept() {
  for (;;) {
    auto [ec, socket] = co_await acceptor_.async_accept(no_throw);
    if (ec == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
    if (!ec) {
      tasks_.spawn("connection of " + path_.string(), serve(std::move(socket)));
      continue;
    }
    ++counters_.accept_errors;
    if (ec == asio::error::connection_aborted) continue;
    // Out of descriptors or memory. The client waits in the queue, and accept() would fail again at once.
    log::warn("cannot accept a connection on {}: {}; trying again", path_.string(), ec.message());
    co_await sleep_for(accept_pause);
  }
}

asio::awaitable<void> SocketForward::serve(Unix::socket socket) {
  const ForwardCounters::Connection counted(counters_);
  SocketStream client(std::move(socket));
  Opened opened;
  if (counters_.connections > limits_.most) {
    opened.failure =
        Error(Errc::busy, std::to_string(limits_.most) + " connections are open, and that is as many as may be");
  } else {
    opened = co_await open_for(client, open_());
  }
  if (opened.failure) {
    ++counters_.refused;
    log::info("a client of {} was refused: {}", path_.string(), one_line(*opened.failure));
    if (limits_.http) co_await refuse(client, *opened.failure);
  } else if (opened.stream) {
    const RelayCount count = co_await relay(client, *opened.stream, &traffic_);
    if (!count.broken.empty()) log::debug("a connection of {} broke: {}", path_.string(), count.broken);
  }
}

}  // namespace cl
