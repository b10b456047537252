#include "src/rpc/connection.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/write.hpp>

#include "src/base/net/unix_socket.hpp"

namespace cl::rpc {

asio::awaitable<bool> Connection::read_more() {
  constexpr std::size_t step = 64 * 1024;
  const std::size_t before = buffer_.size();
  buffer_.resize(before + step);
  auto [ec, got] = co_await socket_.async_read_some(asio::buffer(buffer_.data() + before, step), no_throw);
  buffer_.resize(before + got);
  if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
  co_return !ec;
}

asio::awaitable<std::optional<std::string>> Connection::read_line() {
  for (;;) {
    const auto newline = buffer_.find('\n');
    if (newline != std::string::npos) {
      std::string line = buffer_.substr(0, newline);
      buffer_.erase(0, newline + 1);
      co_return line;
    }
    if (buffer_.size() > max_line) throw Error(Errc::protocol, "a control message is too long");
    const bool more = co_await read_more();
    if (!more && !buffer_.empty()) throw Error(Errc::protocol, "a control connection ended in the middle of a line");
    if (!more) co_return std::nullopt;
  }
}

asio::awaitable<std::optional<Request>> Connection::read_request() {
  const auto line = co_await read_line();
  if (!line) co_return std::nullopt;
  Received received = decode_request(*line);
  ignored_ = std::move(received.ignored);
  co_return std::move(received.request);
}

asio::awaitable<void> Connection::answer(Answer answer) {
  if (answered_) throw Error(Errc::internal, "a request was answered twice");
  answered_ = !std::holds_alternative<Progress>(answer.body);
  if (answered_) answer.ignored = std::move(ignored_);
  std::string line = encode(answer);
  co_await write_line(std::move(line));
}

asio::awaitable<void> Connection::write_line(std::string line) {
  line += '\n';
  auto [ec, put] = co_await asio::async_write(socket_, asio::buffer(line), no_throw);
  if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
  if (ec) throw Error(Errc::io, "the other end of a control connection is gone").because(ec.message());
}

asio::awaitable<std::optional<Frame>> Connection::read_frame() {
  for (;;) {
    if (auto frame = take_frame(buffer_)) co_return frame;
    const bool more = co_await read_more();
    if (!more) co_return std::nullopt;
  }
}

asio::awaitable<void> Connection::write_frame(Frame frame) {
  const std::string bytes = encode(frame);
  auto [ec, put] = co_await asio::async_write(socket_, asio::buffer(bytes), no_throw);
  if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
  if (ec) throw Error(Errc::io, "the other end of a control connection is gone").because(ec.message());
}

asio::awaitable<void> Connection::hung_up() { return cl::hung_up(socket_); }

asio::awaitable<void> Connection::serve_until_gone(asio::awaitable<void> work) {
  auto listen = [](Connection& self) -> asio::awaitable<void> {
    while (co_await self.read_frame()) {
    }
  };
  const auto executor = co_await asio::this_coro::executor;
  auto either = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(work), asio::deferred),
                                                        asio::co_spawn(executor, listen(*this), asio::deferred));
  co_await either.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  close();
}

void Connection::close() {
  error_code ignored;
  socket_.close(ignored);
}

asio::awaitable<void> FrameSender::send(Frame frame) {
  while (busy_) co_await free_.wait();
  busy_ = true;
  std::exception_ptr failure;
  try {
    co_await connection_.write_frame(std::move(frame));
  } catch (...) {
    failure = std::current_exception();
  }
  busy_ = false;
  free_.notify_all();
  if (failure) std::rethrow_exception(failure);
}

asio::awaitable<std::optional<Connection>> connect(std::filesystem::path path, std::chrono::milliseconds patience) {
  Socket socket(co_await asio::this_coro::executor);
  const error_code ec = co_await try_connect(socket, path);
  if (ec) co_return std::nullopt;
  Connection connection(std::move(socket));
  std::optional<std::string> line;
  try {
    line = co_await with_timeout(patience, "waiting for its greeting", connection.read_line());
  } catch (const Error& error) {
    if (error.code() != Errc::timed_out) throw;
    throw Error(Errc::timed_out, "the daemon that listens at " + path.string() + " does not answer",
                "if it stays so, end its process; the machine runs on, and the next command takes it over")
        .because(one_line(error));
  }
  if (!line) co_return std::nullopt;
  if (*line != greeting && !line->starts_with(std::string(greeting) + " "))
    throw Error(Errc::protocol, "what listens at " + path.string() + " is no daemon of colima-like");
  co_return connection;
}

namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string list;
  for (const std::string& word : words) list += (list.empty() ? "'" : ", '") + word + "'";
  return list;
}

/// A daemon that says no version says neither which verbs it knows.
Error with_versions(const Error& error, const Answer& answer) {
  if (error.code() != Errc::protocol || !answer.version.empty()) return error;
  return error.because("the daemon is older than this program, which is of version " + std::string(program_version()));
}

}  // namespace

asio::awaitable<json::object> await_answer(Connection& connection, Watcher watcher) {
  for (;;) {
    auto line = co_await connection.read_line();
    if (!line)
      throw Error(Errc::protocol, "the daemon ended without an answer",
                  "see 'colima-like logs --daemon'; any further command starts a new daemon");
    Answer answer = decode_answer(*line);
    if (!answer.ignored.empty() && watcher.on_note)
      watcher.on_note("the daemon is of version " + answer.version + " and does not know " + joined(answer.ignored) +
                      " of this program, which is of version " + std::string(program_version()) +
                      "; 'colima-like restart' starts a daemon of this version");
    if (auto* result = std::get_if<json::object>(&answer.body)) co_return std::move(*result);
    if (auto* error = std::get_if<Error>(&answer.body)) throw with_versions(*error, answer);
    if (watcher.on_progress) watcher.on_progress(std::get<Progress>(answer.body));
  }
}

}  // namespace cl::rpc
