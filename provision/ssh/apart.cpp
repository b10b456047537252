#include "provision/ssh/apart.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <utility>

#include "provision/ssh/control.hpp"
#include "provision/ssh/session_process.hpp"
#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/pipe.hpp"
#include "src/base/platform.hpp"
#include "src/base/printable.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using ssh::Control;
using ssh::take_until;

constexpr std::size_t most_text = 16 * 1024;  ///< of what the process says at once
constexpr std::size_t most_words = 1024;      ///< that somebody reads of it
constexpr auto end_patience = 1s;             ///< of a process that was told to end

/// The process may be the guest's: what it says is short, and shows what is in it.
std::string words(std::string_view text) { return printable(text.substr(0, most_words)); }

std::uint32_t take_number(std::string_view& text) {
  const std::string_view word = take_until(text, ' ');
  std::uint32_t value = 0;
  std::from_chars(word.data(), word.data() + word.size(), value);
  return value;
}

/// As the process tells one. A remedy is one that we know, for it tells the user what to do.
Error read_error(std::string_view text) {
  const Errc code = errc_from_string(take_until(text, '\n'));
  const std::string what = words(take_until(text, '\n'));
  const std::string_view remedy = take_until(text, '\n');
  const bool known = remedy == ssh::key_changed || remedy == ssh::key_refused;
  const Error error(code, what, known ? std::string(remedy) : "");
  return text.empty() ? error : error.because(words(text));
}

/// What we know of a stream or a program.
struct Entry {
  explicit Entry(const asio::any_io_executor& executor)
      : answered(executor), output_over(executor), errors_over(executor), exited(executor) {}
  Event answered, output_over, errors_over, exited;
  std::optional<Error> refused;
  std::string broken, errors_broken, unended;  ///< why it ended otherwise than by itself
  int code = 255;
};
using EntryPtr = std::shared_ptr<Entry>;

/// A session and its process. Keeps itself until the process has ended.
class Apart : public std::enable_shared_from_this<Apart> {
 public:
  explicit Apart(const asio::any_io_executor& executor)
      : executor_(executor), lost_(executor), answered_(executor), changed_(executor) {}

  void start() {
    auto [ours, theirs] = ssh::connected_pair();
    Pipe errors = make_pipe();
    Command command;
    command.argv = {platform::running_program().string(), "ssh-session", ssh::session_process_version};
    command.input = theirs.get();
    command.errors = errors.write_end.get();
    child_.emplace(Child::start(executor_, command));
    errors_ = std::move(errors.read_end);
    control_ = std::make_shared<Control>(executor_, std::move(ours), Control::Limits{most_text, 0});
    asio::co_spawn(executor_, follow(shared_from_this()), [](const std::exception_ptr&) {});  // it throws nothing
  }

  asio::awaitable<void> log_in(Transport transport, SshLogin login) {
    auto self = shared_from_this();
    std::vector<UniqueFd> with;
    with.push_back(std::move(transport.receive));
    if (transport.send) with.push_back(std::move(transport.send));
    control_->send("login " + std::to_string(login.timings.banner.count()) + " " +
                       std::to_string(login.timings.login.count()) + "\n" + login.user + "\n" + login.host_key + "\n" +
                       login.key,
                   std::move(with));
    co_await answered_.wait();
    if (refused_) throw *refused_;
    if (ended_) throw Error(Errc::io, "the connection ended while logging in").because(reason_);
  }

  std::uint32_t next_id() noexcept { return std::exchange(next_id_, next_id_ + 2); }

  /// Asks for a stream or a program; returns when it is there.
  asio::awaitable<void> open(std::uint32_t id, std::string request, std::vector<UniqueFd> with) {
    auto self = shared_from_this();
    if (ended_) throw unreachable();
    const auto entry = std::make_shared<Entry>(executor_);
    entries_[id] = entry;
    control_->send(std::move(request), std::move(with));
    co_await entry->answered.wait();
    if (entry->refused) throw *entry->refused;
  }
  EntryPtr entry(std::uint32_t id) const {
    const auto found = entries_.find(id);
    return found == entries_.end() ? nullptr : found->second;
  }
  void release(std::uint32_t id) noexcept {
    const auto found = entries_.find(id);
    if (found == entries_.end()) return;
    const EntryPtr entry = std::move(found->second);
    entries_.erase(found);
    cut(*entry, "the stream was closed");
    control_->send("close " + std::to_string(id));
    if (stopped_ && entries_.empty()) control_->close();
  }

  bool ended() const noexcept { return ended_; }
  asio::awaitable<void> lost() {
    auto self = shared_from_this();
    co_await lost_.wait();
  }

  /// What has come of a session that was lost is still its streams' to read.
  void stop() noexcept {
    stopped_ = true;
    if (ended_ && !entries_.empty()) return;
    control_->close();
    end("it was closed on our side");
  }

  asio::awaitable<void> quiesce() {
    auto self = shared_from_this();
    if (ended_) throw lost_error();
    quiet_ = false;
    loud_.reset();
    control_->send("quiesce");
    while (!quiet_ && !loud_ && !ended_) co_await changed_.wait();
    if (loud_) throw *loud_;
    if (ended_) throw lost_error();
  }
  asio::awaitable<void> detached() {
    auto self = shared_from_this();
    detached_ = false;
    control_->send("detach");
    while (!detached_ && !ended_) co_await changed_.wait();
  }
  void reattach(Transport transport) {
    std::vector<UniqueFd> with;
    with.push_back(std::move(transport.receive));
    if (transport.send) with.push_back(std::move(transport.send));
    control_->send("reattach", std::move(with));
  }
  void resume() { control_->send("resume"); }
  void resize(std::uint32_t id, TerminalSize size) {
    control_->send("resize " + std::to_string(id) + " " + std::to_string(size.columns) + " " +
                   std::to_string(size.rows));
  }

  Error lost_error() const { return Error(Errc::io, "the connection to the guest is lost").because(reason_); }
  Error unreachable() const {
    return Error(Errc::guest_failed, "the guest cannot be reached any more").because(one_line(lost_error()));
  }

 private:
  static asio::awaitable<void> follow(std::shared_ptr<Apart> self) {
    std::string why;
    try {
      while (auto message = co_await self->control_->receive()) self->take(message->text);
    } catch (const Error& error) {
      why = one_line(error);
      self->child_->kill(SIGKILL);
    }
    self->control_->close();
    const std::string how = co_await self->process_end();
    if (!self->ended_) {
      if (why.empty()) why = how.empty() ? "it was closed on our side" : "its process ended by " + how;
      log::warn("ssh: {}", why);
    }
    self->end(why);
  }

  /// How it ended, where that was no end in order.
  asio::awaitable<std::string> process_end() {
    std::optional<ExitStatus> status;
    try {
      status = co_await with_timeout(end_patience, "the end of a process", child_->wait());
    } catch (const Error&) {
      child_->kill(SIGKILL);
    }
    if (!status) status = co_await child_->wait();
    if (status->ok()) co_return "";
    std::array<char, most_words> space;
    ::fcntl(errors_.get(), F_SETFL, O_NONBLOCK);
    const ssize_t got = ::read(errors_.get(), space.data(), space.size());
    std::string said = words({space.data(), got > 0 ? static_cast<std::size_t>(got) : 0});
    co_return status->str() + (said.empty() ? "" : ": " + said);
  }

  void take(std::string_view text) {
    const std::string_view verb = take_until(text, ' ');
    if (verb == "ready") return answered_.set();
    if (verb == "failed") {
      refused_ = read_error(text);
      return answered_.set();
    }
    if (verb == "lost") return end(words(text));
    if (verb == "quiet") quiet_ = true;
    if (verb == "loud") loud_ = read_error(text);
    if (verb == "detached") detached_ = true;
    if (verb == "quiet" || verb == "loud" || verb == "detached") return changed_.notify_all();
    const std::uint32_t id = take_number(text);
    const auto found = entries_.find(id & ~1U);
    if (found == entries_.end()) return;  // it was closed meanwhile
    Entry& entry = *found->second;
    const bool of_errors = (id & 1U) != 0;
    if (verb == "open") entry.answered.set();
    if (verb == "refused") {
      entry.refused = read_error(text);
      entry.answered.set();
    }
    if (verb == "broken") (of_errors ? entry.errors_broken : entry.broken) = words(text);
    if (verb == "ended" || verb == "broken") (of_errors ? entry.errors_over : entry.output_over).set();
    if (verb == "unended") entry.unended = words(text);
    if (verb == "exit") entry.code = static_cast<int>(take_number(text) & 0xffU);
    if (verb == "unended" || verb == "exit") entry.exited.set();
  }

  static void cut(Entry& entry, const std::string& why) {
    if (!entry.answered.is_set())
      entry.refused = Error(Errc::guest_failed, "the guest cannot be reached any more").because(why);
    if (!entry.output_over.is_set()) entry.broken = why;
    if (!entry.errors_over.is_set()) entry.errors_broken = why;
    if (!entry.exited.is_set()) entry.unended = why;
    for (Event* one : {&entry.answered, &entry.output_over, &entry.errors_over, &entry.exited}) one->set();
  }

  /// Nothing is asked for any more. The process may still have bytes for its streams, when it was the guest's end.
  void end(const std::string& reason) noexcept {
    if (!std::exchange(ended_, true)) reason_ = reason;
    const bool gone = !control_ || control_->closed();
    for (const auto& [id, entry] : entries_) {
      if (gone || !entry->answered.is_set()) cut(*entry, reason_);
    }
    answered_.set();
    lost_.set();
    changed_.notify_all();
  }

  asio::any_io_executor executor_;
  std::optional<Child> child_;
  UniqueFd errors_;  ///< what it writes to its standard error
  std::shared_ptr<Control> control_;
  std::map<std::uint32_t, EntryPtr> entries_;
  std::uint32_t next_id_ = 2;
  std::optional<Error> refused_, loud_;
  std::string reason_;
  bool ended_ = false, stopped_ = false, quiet_ = false, detached_ = false;
  Event lost_, answered_;
  Notifier changed_;
};
using ApartPtr = std::shared_ptr<Apart>;

SocketStream stream_of(const asio::any_io_executor& executor, UniqueFd fd) {
  asio::local::stream_protocol::socket socket(executor);
  socket.assign(asio::local::stream_protocol(), fd.get());
  (void)fd.release();
  return SocketStream(SocketStream::Socket(std::move(socket)));
}

/// One socket of a stream or program, with the session's own reasons when it fails.
class ApartSocket {
 public:
  ApartSocket(ApartPtr session, SocketStream socket) : session_(std::move(session)), socket_(std::move(socket)) {}

  /// The end of the socket's bytes is one of the guest's only where the process has said so.
  asio::awaitable<std::size_t> read(EntryPtr entry, bool of_errors, std::span<char> space) {
    const auto session = session_;
    if (closed_) throw closed();
    if (space.empty()) co_return 0;
    std::size_t got = 0;
    std::optional<Error> failure;
    try {
      got = co_await socket_.read_some(space);
    } catch (const Error& error) {
      failure = error;
    }
    if (got > 0) co_return got;
    if (closed_) throw closed();
    co_await (of_errors ? entry->errors_over : entry->output_over).wait();
    const std::string& why = of_errors ? entry->errors_broken : entry->broken;
    if (why.empty() && !failure) co_return 0;
    if (closed_) throw closed();
    if (session->ended()) throw session->lost_error();
    throw Error(Errc::io, "cannot read from the guest").because(failure ? one_line(*failure) : why);
  }
  asio::awaitable<void> write(std::span<const char> bytes) {
    const auto session = session_;
    check();
    std::optional<Error> failure;
    try {
      co_await socket_.write(bytes);
    } catch (const Error& error) {
      failure = error;
    }
    if (!failure) co_return;
    check();
    throw Error(Errc::io, "the guest's side of the connection is closed");
  }
  asio::awaitable<void> shutdown_write() {
    check();
    return socket_.shutdown_write();
  }
  void close() noexcept {
    closed_ = true;
    socket_.close();
  }

 private:
  static Error closed() { return {Errc::io, "the stream was closed"}; }
  void check() const {
    if (closed_) throw closed();
    if (session_->ended()) throw session_->lost_error();
  }

  ApartPtr session_;
  SocketStream socket_;
  bool closed_ = false;
};

class ApartStream : public ByteStream {
 public:
  ApartStream(ApartPtr session, std::uint32_t id, SocketStream socket)
      : session_(session), id_(id), socket_(std::move(session), std::move(socket)) {}
  ApartStream(const ApartStream&) = delete;
  ApartStream& operator=(const ApartStream&) = delete;
  ~ApartStream() override { close(); }

  void opened() { entry_ = session_->entry(id_); }
  asio::awaitable<std::size_t> read_some(std::span<char> space) override { return socket_.read(entry_, false, space); }
  asio::awaitable<void> write(std::span<const char> bytes) override { return socket_.write(bytes); }
  asio::awaitable<void> shutdown_write() override { return socket_.shutdown_write(); }
  void close() noexcept override {
    socket_.close();
    session_->release(id_);
  }
  const EntryPtr& entry() const noexcept { return entry_; }
  const ApartPtr& session() const noexcept { return session_; }
  std::uint32_t id() const noexcept { return id_; }

 private:
  ApartPtr session_;
  std::uint32_t id_;
  EntryPtr entry_;
  ApartSocket socket_;
};

class ApartProcess : public GuestProcess {
 public:
  ApartProcess(std::unique_ptr<ApartStream> io, SocketStream errors)
      : io_(std::move(io)), errors_(io_->session(), std::move(errors)) {}

  ByteStream& io() override { return *io_; }
  asio::awaitable<std::size_t> read_errors(std::span<char> space) override {
    return errors_.read(io_->entry(), true, space);
  }
  asio::awaitable<void> resize(TerminalSize size) override {
    io_->session()->resize(io_->id(), size);
    co_return;
  }
  asio::awaitable<int> wait_exit() override {
    const EntryPtr entry = io_->entry();
    co_await entry->exited.wait();
    if (!entry->unended.empty()) throw Error(Errc::io, "cannot learn how the command ended").because(entry->unended);
    co_return entry->code;
  }

 private:
  std::unique_ptr<ApartStream> io_;
  ApartSocket errors_;
};

asio::awaitable<std::unique_ptr<ApartStream>> open_stream(ApartPtr session, std::string verb, std::string what,
                                                          UniqueFd errors) {
  const std::uint32_t id = session->next_id();
  auto [ours, theirs] = ssh::connected_pair();
  auto stream =
      std::make_unique<ApartStream>(session, id, stream_of(co_await asio::this_coro::executor, std::move(ours)));
  std::vector<UniqueFd> with;
  with.push_back(std::move(theirs));
  if (errors) with.push_back(std::move(errors));
  auto opening = session->open(id, verb + " " + std::to_string(id) + " " + what, std::move(with));
  co_await std::move(opening);
  stream->opened();
  co_return stream;
}

class ApartGuest : public SshSession {
 public:
  explicit ApartGuest(ApartPtr session) : session_(std::move(session)) {}
  ApartGuest(const ApartGuest&) = delete;
  ApartGuest& operator=(const ApartGuest&) = delete;
  ~ApartGuest() override { session_->stop(); }

  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest request) override {
    const auto session = session_;
    auto [ours, theirs] = ssh::connected_pair();
    const TerminalSize size = request.terminal.value_or(TerminalSize{0, 0});
    std::string what = std::to_string(size.columns) + " " + std::to_string(size.rows) + " " + request.terminal_type +
                       "\n" + request.command;
    auto stream = co_await open_stream(session, "exec", std::move(what), std::move(theirs));
    auto errors = stream_of(co_await asio::this_coro::executor, std::move(ours));
    co_return std::make_unique<ApartProcess>(std::move(stream), std::move(errors));
  }
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string path) override {
    const auto session = session_;
    co_return co_await open_stream(session, "unix", std::move(path), {});
  }
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string host, std::uint16_t port) override {
    const auto session = session_;
    std::string where = std::to_string(port) + " " + host;
    co_return co_await open_stream(session, "tcp", std::move(where), {});
  }
  asio::awaitable<void> lost() override { return session_->lost(); }
  bool ended() const noexcept override { return session_->ended(); }
  void stop() noexcept override { session_->stop(); }
  asio::awaitable<void> quiesce() override { return session_->quiesce(); }
  asio::awaitable<void> detached() override { return session_->detached(); }
  void reattach(Transport transport) override { session_->reattach(std::move(transport)); }
  void resume() override { session_->resume(); }

 private:
  ApartPtr session_;
};

}  // namespace

asio::awaitable<std::unique_ptr<SshSession>> connect_ssh_apart(Transport transport, SshLogin login) {
  if (login.key.empty()) login.key = read_file(login.private_key);
  const auto session = std::make_shared<Apart>(co_await asio::this_coro::executor);
  session->start();
  auto guest = std::make_unique<ApartGuest>(session);  // ends the session if anything below fails
  // The process keeps to its own limits; this one is for a process that does not.
  const auto limit = login.timings.banner + login.timings.login + 5s;
  auto work = session->log_in(std::move(transport), std::move(login));
  co_await with_timeout(limit, "logging in to the guest", std::move(work));
  co_return guest;
}

}  // namespace cl
