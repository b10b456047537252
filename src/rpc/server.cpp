#include "src/rpc/server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "src/base/file.hpp"
#include "src/base/log.hpp"

namespace cl::rpc {
namespace {

Error cannot_create(const std::filesystem::path& path, const std::string& why) {
  return Error(Errc::io, "cannot create the control socket " + path.string()).because(why);
}

/// Removes a socket, and nothing else: what else has this name is not ours.
void make_room(const std::filesystem::path& path) {
  struct stat there{};
  if (::lstat(path.c_str(), &there) != 0) return;  // nothing there, or bind() says why not
  if (!S_ISSOCK(there.st_mode))
    throw cannot_create(path, S_ISDIR(there.st_mode) ? "a folder is in its place" : "a file is in its place")
        .with_remedy("move it away: colima-like did not make it");
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw cannot_create(path, io_error("unlink", errno).cause());
}

void listen_at(asio::local::stream_protocol::acceptor& acceptor, const std::filesystem::path& path) {
  make_room(path);
  const asio::local::stream_protocol::endpoint at(path.string());
  acceptor.open(at.protocol());
  ::fcntl(acceptor.native_handle(), F_SETFD, FD_CLOEXEC);
  const mode_t before = ::umask(0177);
  error_code ec;
  acceptor.bind(at, ec);
  ::umask(before);
  if (ec) throw boost::system::system_error(ec);
  acceptor.listen();
}

}  // namespace

Server::Server(asio::any_io_executor executor, const FileLock&, std::filesystem::path path, Handler handler,
               ServerLimits limits)
    : path_(std::move(path)), acceptor_(executor), handler_(std::move(handler)), limits_(limits), tasks_(executor) {
  try {
    listen_at(acceptor_, path_);
  } catch (const boost::system::system_error& error) {
    throw cannot_create(path_, error.code().message());
  }
  tasks_.spawn_permanent("control socket", accept());
  tasks_.spawn_permanent("the control socket's name", keep_name());
}

Server::~Server() { ::unlink(path_.c_str()); }

bool Server::close_if_unused() {
  pollfd waiting{acceptor_.native_handle(), POLLIN, 0};
  if (connections_ > 0 || ::poll(&waiting, 1, 0) != 0) return false;
  closed_ = true;
  error_code ignored;
  acceptor_.close(ignored);
  return true;
}

asio::awaitable<void> Server::stop() {
  closed_ = true;
  error_code ignored;
  acceptor_.close(ignored);
  co_await tasks_.stop();
}

asio::awaitable<void> Server::accept() {
  while (!closed_) {
    auto [ec, socket] = co_await acceptor_.async_accept(no_throw);
    if (closed_) break;
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none)
      throw boost::system::system_error(asio::error::operation_aborted);
    if (ec == asio::error::operation_aborted) continue;  // keep_name() has put another one in its place
    if (ec) {
      log::warn("control socket: {}", ec.message());
      co_await sleep_for(std::chrono::milliseconds(100));  // out of descriptors: do not spin
      continue;
    }
    ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
    ++connections_;  // now: its task begins a moment later
    tasks_.spawn("control connection", serve(std::move(socket)));
  }
  Event stopped(acceptor_.get_executor());
  co_await stopped.wait();  // until stop() cancels it
}

/// By looking: no system tells of that without watching the folder, which may be gone as well.
asio::awaitable<void> Server::keep_name() {
  for (;;) {
    co_await sleep_for(limits_.look_again);
    struct stat there{};
    if (closed_ || ::lstat(path_.c_str(), &there) == 0 || errno != ENOENT) continue;
    try {
      make_private_directory(path_.parent_path());
      asio::local::stream_protocol::acceptor again(acceptor_.get_executor());
      listen_at(again, path_);
      acceptor_ = std::move(again);
      log::warn("the control socket was removed, and is made again");
    } catch (const std::exception& error) {
      log::debug("the control socket was removed: {}", error.what());  // with its profile, perhaps
    }
  }
}

asio::awaitable<std::optional<Request>> Server::first_request(Connection& connection) {
  struct Silent {
    std::list<Connection*>& all;
    std::list<Connection*>::iterator place;
    Silent(std::list<Connection*>& list, Connection& one) : all(list), place(list.insert(list.end(), &one)) {}
    ~Silent() { all.erase(place); }
  } silent(silent_, connection);
  if (silent_.size() > limits_.silent) silent_.front()->close();
  co_await connection.write_line(std::string(greeting));
  co_return co_await connection.read_request();
}

asio::awaitable<void> Server::serve(Socket socket) {
  struct Count {
    Server& server;
    explicit Count(Server& s) : server(s) {}
    ~Count() {
      --server.connections_;
      if (server.on_disconnect_) server.on_disconnect_();
    }
  } count(*this);

  Connection connection(std::move(socket));
  std::exception_ptr failure;
  std::string verb = "nothing";
  try {
    auto request = co_await with_timeout(limits_.first_request, "waiting for a request", first_request(connection));
    if (!request) co_return;
    verb = verb_of(*request);
    co_await handler_(connection, std::move(*request));
    if (!connection.answered()) throw Error(Errc::internal, "the daemon has no answer to '" + verb + "'");
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) co_return;
  Error error = error_of(failure);
  if (closed_ && error.code() == Errc::cancelled)
    error = Error(Errc::cancelled, "the daemon ended while '" + verb + "' was under way",
                  "any further command starts a new daemon");
  log::info("'{}' {} with an error: {}", verb, connection.answered() ? "ended" : "is answered", one_line(error));
  if (connection.answered()) co_return;
  // The one border of all requests: it answers whatever was thrown, and also while the daemon ends.
  co_await asio::this_coro::throw_if_cancelled(false);
  try {
    auto last_word = with_timeout(limits_.last_word, "telling it", connection.answer(error));
    co_await uninterrupted(std::move(last_word));
  } catch (...) {
    log::debug("and nobody reads that: {}", one_line(error_of(std::current_exception())));
  }
}

}  // namespace cl::rpc
