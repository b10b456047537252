#include "provision/ssh/session_process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <cstring>
#include <map>

#include "provision/ssh/channel.hpp"
#include "provision/ssh/control.hpp"
#include "provision/ssh/pump.hpp"
#include "provision/ssh/session.hpp"
#include "src/base/confine.hpp"
#include "src/base/descriptor_limit.hpp"
#include "src/base/task_group.hpp"

extern char** environ;

namespace cl::ssh {
namespace {

using Socket = asio::local::stream_protocol::socket;

constexpr std::size_t most_memory = std::size_t{512} << 20;
constexpr std::size_t least_space = 4 * 1024, most_space = Pump::read_limit;

/// One stream or program of the guest: its channel, and the sockets that the daemon has the other ends of.
struct Served {
  Served(const asio::any_io_executor& executor, std::uint32_t number)
      : id(number), socket(executor), errors(executor), drained(executor) {}
  std::uint32_t id;
  Socket socket, errors;
  std::unique_ptr<ByteStream> stream;
  std::unique_ptr<GuestProcess> process;  ///< or this
  int outputs = 0;                        ///< that have not ended
  bool clean = true;                      ///< none was cut short
  bool closed = false;                    ///< by the daemon
  Event drained;                          ///< no output is left

  ByteStream& io() { return process ? process->io() : *stream; }
  void close() noexcept {
    closed = true;
    error_code ignored;
    socket.close(ignored);
    errors.close(ignored);
    stream.reset();
    process.reset();
    drained.set();
  }
};
using ServedPtr = std::shared_ptr<Served>;

std::string text_of(const Error& error) {
  return std::string(to_string(error.code())) + "\n" + error.what() + "\n" + error.remedy() + "\n" + error.cause();
}

/// More room for a stream that fills it.
void adapt(std::vector<char>& space, std::size_t got) {
  if (got == space.size() && got < most_space) space.resize(std::min(got * 8, most_space));
}

/// What the daemon writes, to the guest. A guest that takes nothing any more may still have something to say.
asio::awaitable<void> carry_in(ServedPtr served) {
  std::vector<char> space(least_space);
  try {
    for (;;) {
      auto [ec, got] = co_await served->socket.async_read_some(asio::buffer(space), no_throw);
      if (served->closed) co_return;
      if (ec) break;
      co_await served->io().write({space.data(), got});
      if (served->closed) co_return;
      adapt(space, got);
    }
    co_await served->io().shutdown_write();
  } catch (const Error&) {
    error_code ignored;
    if (!served->closed) served->socket.shutdown(Socket::shutdown_receive, ignored);
  }
}

asio::awaitable<std::size_t> read_output(Served& served, std::span<char> space) { return served.io().read_some(space); }
asio::awaitable<std::size_t> read_errors(Served& served, std::span<char> space) {
  return served.process->read_errors(space);
}

/// What the guest says, to the daemon. An end is told as one: the socket's own could also be that of this process.
asio::awaitable<void> carry_out(std::shared_ptr<Control> control, ServedPtr served, bool of_errors) {
  Socket& to = of_errors ? served->errors : served->socket;
  const std::string id = std::to_string(served->id + (of_errors ? 1 : 0));
  bool clean = false;
  try {
    std::vector<char> space(least_space);
    while (!served->closed) {
      const std::size_t got = co_await (of_errors ? read_errors : read_output)(*served, space);
      if (served->closed) break;
      if (got == 0) {
        clean = true;
        break;
      }
      auto [ec, put] = co_await asio::async_write(to, asio::buffer(space.data(), got), no_throw);
      if (ec) break;
      adapt(space, got);
    }
    if (clean) control->send("ended " + id);
  } catch (const Error& error) {
    if (!served->closed) control->send("broken " + id + " " + one_line(error));
  }
  error_code ignored;
  if (!served->closed) to.shutdown(Socket::shutdown_send, ignored);
  served->clean = served->clean && clean;
  if (--served->outputs == 0) served->drained.set();
}

class Server {
 public:
  Server(asio::any_io_executor executor, std::shared_ptr<Control> control)
      : executor_(std::move(executor)), control_(std::move(control)), tasks_(executor_) {}

  void end() noexcept { guest_.reset(); }

  /// Until the daemon has closed the socket, or says what no daemon says.
  static asio::awaitable<void> serve(Server& self) {
    while (auto message = co_await self.control_->receive()) self.take(std::move(*message));
  }

 private:
  static std::uint32_t number(std::string_view& text) {
    const std::string_view word = take_until(text, ' ');
    std::uint32_t value = 0;
    std::from_chars(word.data(), word.data() + word.size(), value);
    return value;
  }

  void take(Control::Message message) {
    std::string_view rest = message.text;
    const std::string_view verb = take_until(rest, ' ');
    if (verb == "login" && !message.with.empty()) return tasks_.spawn("login", log_in(*this, std::move(message)));
    if (verb == "quiesce") return tasks_.spawn("quiesce", quiesce(*this));
    if (verb == "detach") return tasks_.spawn("detach", detach(*this));
    if (verb == "reattach" && guest_ && !message.with.empty()) return guest_->reattach(transport(message));
    if (verb == "resume" && guest_) return guest_->resume();
    const std::uint32_t id = number(rest);
    if (verb == "close") {
      if (const auto found = served_.find(id); found != served_.end()) found->second->close();
      served_.erase(id);
    } else if (verb == "resize") {
      const auto columns = static_cast<int>(number(rest)), rows = static_cast<int>(number(rest));
      tasks_.spawn("resize", resize(*this, id, {columns, rows}));
    } else if (!message.with.empty()) {
      tasks_.spawn("stream", open(*this, id, std::move(message)));
    }
  }

  static Transport transport(Control::Message& message) {
    if (message.with.size() == 1) return {std::move(message.with[0])};
    return {std::move(message.with[0]), std::move(message.with[1])};
  }

  static asio::awaitable<void> log_in(Server& self, Control::Message message) {
    std::string_view rest = message.text;
    take_until(rest, ' ');
    SshLogin login;
    std::string_view times = take_until(rest, '\n');
    login.timings.banner = std::chrono::milliseconds(number(times));
    login.timings.login = std::chrono::milliseconds(number(times));
    login.user = take_until(rest, '\n');
    login.host_key = take_until(rest, '\n');
    login.key = rest;
    try {
      self.guest_ = co_await connect_ssh(transport(message), std::move(login));
    } catch (const Error& error) {
      self.control_->send("failed " + text_of(error));
      co_return;
    }
    self.control_->send("ready");
    co_await self.guest_->lost();
    self.control_->send("lost " + self.guest_->pump()->reason());
  }

  static asio::awaitable<void> quiesce(Server& self) {
    try {
      if (!self.guest_) throw Error(Errc::io, "there is no session");
      co_await self.guest_->quiesce();
      self.control_->send("quiet");
    } catch (const Error& error) {
      self.control_->send("loud " + text_of(error));
    }
  }

  static asio::awaitable<void> detach(Server& self) {
    if (self.guest_) co_await self.guest_->detached();
    self.control_->send("detached");
  }

  static asio::awaitable<void> resize(Server& self, std::uint32_t id, TerminalSize size) {
    const auto found = self.served_.find(id);
    if (found == self.served_.end() || !found->second->process) co_return;
    const ServedPtr served = found->second;
    try {
      co_await served->process->resize(size);
    } catch (const Error&) {
      // Whoever reads the program's output learns that the session is lost; all else is as it was.
    }
  }

  /// Of `unix ID PATH`, `tcp ID PORT HOST` and `exec ID COLUMNS ROWS TYPE\nCOMMAND`.
  static asio::awaitable<void> connect(Server& self, Served& served, std::string_view verb, std::string_view rest) {
    if (!self.guest_) throw Error(Errc::guest_failed, "there is no session");
    if (verb == "unix") {
      served.stream = co_await self.guest_->open_unix(std::string(rest));
    } else if (verb == "tcp") {
      const auto port = static_cast<std::uint16_t>(number(rest));
      served.stream = co_await self.guest_->open_tcp(std::string(rest), port);
    } else {
      ExecRequest request;
      const auto columns = static_cast<int>(number(rest)), rows = static_cast<int>(number(rest));
      if (columns > 0) request.terminal = TerminalSize{columns, rows};
      request.terminal_type = take_until(rest, '\n');
      request.command = rest;
      served.process = co_await self.guest_->exec(std::move(request));
    }
  }

  static asio::awaitable<void> open(Server& self, std::uint32_t id, Control::Message message) {
    const auto served = std::make_shared<Served>(self.executor_, id);
    self.served_[id] = served;
    served->socket.assign(asio::local::stream_protocol(), message.with[0].release());
    if (message.with.size() > 1) served->errors.assign(asio::local::stream_protocol(), message.with[1].release());
    std::string_view rest = message.text;
    const std::string_view verb = take_until(rest, ' ');
    number(rest);
    try {
      co_await connect(self, *served, verb, rest);
    } catch (const Error& error) {
      self.control_->send("refused " + std::to_string(id) + " " + text_of(error));
      served->close();
      self.served_.erase(id);
      co_return;
    }
    if (served->closed) co_return served->close();  // meanwhile
    served->outputs = served->process ? 2 : 1;
    self.control_->send("open " + std::to_string(id));
    self.tasks_.spawn("input", carry_in(served));
    self.tasks_.spawn("output", carry_out(self.control_, served, false));
    if (!served->process) co_return;
    self.tasks_.spawn("errors", carry_out(self.control_, served, true));
    co_await served->drained.wait();
    if (!served->clean || served->closed) co_return;
    try {
      const int code = co_await served->process->wait_exit();
      self.control_->send("exit " + std::to_string(id) + " " + std::to_string(code));
    } catch (const Error& error) {
      self.control_->send("unended " + std::to_string(id) + " " + one_line(error));
    }
  }

  asio::any_io_executor executor_;
  std::shared_ptr<Control> control_;
  std::unique_ptr<SshGuest> guest_;
  std::map<std::uint32_t, ServedPtr> served_;
  TaskGroup tasks_;
};

/// What the user's shell had in its environment is nobody's business here.
void forget_environment() {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    std::memset(*entry, 0, std::strlen(*entry));
  environ = nullptr;
}

asio::awaitable<void> give_up(std::shared_ptr<Control> control, Error why) {
  control->send("failed " + text_of(why));
  co_await control->sent();
}

asio::awaitable<void> work(std::shared_ptr<Control> control) {
  Server server(co_await asio::this_coro::executor, std::move(control));
  try {
    co_await Server::serve(server);
  } catch (const Error&) {
    // The daemon is another program than we think, and will see that we end.
  }
  // No way back through destructors: the session says goodbye, and all else is the system's to clean up.
  server.end();
  ::_exit(0);
}

}  // namespace

int run_session_process(const char* version) {
  if (std::strcmp(version, session_process_version) != 0) return 2;
  ::signal(SIGPIPE, SIG_IGN);
  forget_environment();
  raise_descriptor_limit();
  asio::io_context io{1};
  const auto control =
      std::make_shared<Control>(io.get_executor(), UniqueFd(STDIN_FILENO), Control::Limits{std::size_t{16} << 20, 2});
  std::optional<Error> failure;
  try {
    Pump::prepare();
    seal_process(most_memory);
  } catch (const Error& error) {
    failure = error;
  }
  auto life = failure ? give_up(control, *failure) : work(control);
  asio::co_spawn(io, std::move(life), [](const std::exception_ptr&) { ::_exit(1); });
  io.run();
  ::_exit(1);
}

}  // namespace cl::ssh
