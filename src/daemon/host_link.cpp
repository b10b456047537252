#include "src/daemon/host_link.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <utility>

#include "provision/channel/agent_start.hpp"
#include "provision/ssh/openssh.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/base/pipe.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// A word of the login shell there, which knows its home.
constexpr std::string_view agent_folder = "\"$HOME\"/.cache/colima-like/agent";
constexpr auto first_limit = 30s;          // for ssh to connect, at a start
constexpr auto shortest_limit = 3s;        // later: TCP asks again after 1 s and 3 s, and a new ssh asks at once
constexpr auto start_limit = 120s;         // until the agent answers, which may have to be sent over a slow line
constexpr std::uint32_t window = 4 << 20;  // a hundred megabytes a second over 40 ms
constexpr auto again = 300ms;
constexpr auto lately = 10min;  // then less often
constexpr auto again_later = 3s;
constexpr auto again_refused = 30s;  // where the user has to mend something: hosts lock out who comes too often
constexpr std::size_t most_said = 8192;

/// Bytes of a socket that is somebody else's afterwards.
class Borrowed : public ByteStream {
 public:
  Borrowed(const asio::any_io_executor& executor, int descriptor) : socket_(executor) {
    socket_.assign(asio::local::stream_protocol(), ::fcntl(descriptor, F_DUPFD_CLOEXEC, 3));
  }
  asio::awaitable<std::size_t> read_some(std::span<char> space) override {
    auto [ec, got] = co_await socket_.async_read_some(asio::buffer(space.data(), space.size()), no_throw);
    if (ec && ec != asio::error::eof) throw Error(Errc::io, "the connection broke").because(ec.message());
    co_return got;
  }
  asio::awaitable<void> write(std::span<const char> bytes) override {
    auto [ec, put] = co_await asio::async_write(socket_, asio::buffer(bytes.data(), bytes.size()), no_throw);
    if (ec) throw Error(Errc::io, "the connection broke").because(ec.message());
  }
  asio::awaitable<void> shutdown_write() override { co_return; }
  void close() noexcept override {}

 private:
  asio::local::stream_protocol::socket socket_;
};

asio::awaitable<void> collect(UniqueFd from, std::string& said, Event& at_end) {
  asio::posix::stream_descriptor pipe(co_await asio::this_coro::executor, from.release());
  std::array<char, 2048> space;
  for (;;) {
    auto [ec, got] = co_await pipe.async_read_some(asio::buffer(space), no_throw);
    if (ec) co_return at_end.set();
    said.append(space.data(), got);
    if (said.size() > 2 * most_said) said.erase(0, said.size() - most_said);
  }
}

asio::awaitable<void> wait_for_end(Child& child) { co_await child.wait(); }

/// One that waits for a host that is away does not end by itself.
asio::awaitable<void> end(Child& child) {
  constexpr auto patience = 1s;
  const auto late = co_await failure_of(with_timeout(patience, "the end of ssh", wait_for_end(child)));
  if (!late) co_return;
  child.kill(SIGKILL);
  co_await child.wait();
}

/// What ssh said at its end may not have been read yet; and a program that it has started may keep its stderr.
asio::awaitable<void> last_words(Event& heard) {
  constexpr auto patience = 300ms;
  co_await failure_of(with_timeout(patience, "its last words", heard.wait()));
}

bool has_to_be_mended(const Error& error) {
  return error.code() == Errc::host_requirement || error.code() == Errc::invalid_config;
}

}  // namespace

HostLink::HostLink(asio::any_io_executor executor, Config config)
    : executor_(executor), config_(std::move(config)), changed_(executor), visits_(executor), tasks_(executor) {}

std::shared_ptr<GuestLink> HostLink::start(asio::any_io_executor executor, Config config) {
  auto link = std::make_shared<HostLink>(std::move(executor), std::move(config));
  link->tasks_.spawn("the link to the host", keep_connected(link));
  return link;
}

asio::awaitable<void> HostLink::keep_connected(std::shared_ptr<HostLink> self) {
  auto lost_at = Clock::now();
  std::string told;  // the same is logged once
  for (;;) {
    const auto usual = std::chrono::ceil<std::chrono::seconds>(2 * self->took_);
    const auto limit = self->was_reached_ ? std::max<std::chrono::seconds>(shortest_limit, usual) : first_limit;
    const auto failure = co_await failure_of(self->connect_and_follow(limit));
    const bool had_it = self->guest_ != nullptr;
    self->guest_.reset();
    self->agent_.reset();
    if (self->given_up_) co_return;
    if (had_it) lost_at = Clock::now();
    if (failure) {
      const std::string why = one_line(*failure);
      if (why != told) log::warn("{}: {}", self->config_.remote, why);
      told = why;
      self->last_failure_ = *failure;
    }
    self->changed_.notify_all();
    if (had_it && self->config_.on_change) self->config_.on_change(false);
    std::chrono::milliseconds pause = Clock::now() - lost_at < lately ? again : std::chrono::milliseconds(again_later);
    if (failure && has_to_be_mended(*failure)) pause = again_refused;
    if (!had_it) co_await sleep_for(pause);
  }
}

/// Returns by an exception when the host is lost, or is not reached.
asio::awaitable<void> HostLink::connect_and_follow(std::chrono::seconds limit) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw io_error("socketpair", errno);
  UniqueFd near(ends[0]), far(ends[1]);
  for (const int one : ends) ::fcntl(one, F_SETFD, FD_CLOEXEC);
  Pipe errors = make_pipe();
  Command command;
  const std::string how = config_.session.empty() ? "stdio" : "session " + config_.session;
  command.argv = openssh_command(config_.remote, agent_start_command(agent_folder, how), limit);
  if (!config_.ssh_agent.empty()) command.environment.push_back("SSH_AUTH_SOCK=" + config_.ssh_agent);
  command.input = command.output = far.get();
  command.errors = errors.write_end.get();
  command.new_session = true;  // without a terminal it can ask nobody
  Child child = Child::start(executor_, command);
  far.reset();
  errors.write_end.reset();
  said_.clear();
  Event heard(executor_);
  TaskGroup listener(executor_);
  listener.spawn("what ssh says", collect(std::move(errors.read_end), said_, heard));
  std::exception_ptr failure;
  try {
    co_await converse(near.get());
  } catch (...) {
    failure = std::current_exception();
  }
  co_await asio::this_coro::throw_if_cancelled(false);
  if (agent_) agent_->stop("the connection to the host is lost");
  near.reset();
  if (guest_ || given_up_) child.kill(SIGTERM);
  co_await uninterrupted(end(child));
  co_await uninterrupted(last_words(heard));
  co_await uninterrupted(listener.stop());
  co_await asio::this_coro::throw_if_cancelled(true);
  if (failure) std::rethrow_exception(failure);
  throw openssh_error(config_.remote, said_);
}

/// Returns when ssh has ended before there was an agent, or the agent is lost.
asio::awaitable<void> HostLink::converse(int descriptor) {
  const auto begun = Clock::now();
  Borrowed shell(executor_, descriptor);
  bool started = false;
  std::optional<bool> ready;
  const auto failure = co_await failure_of(
      with_timeout(start_limit, "starting the agent on the host", store(start_agent(shell), ready)));
  if (failure && failure->code() != Errc::io) throw *failure;
  started = ready.value_or(false);
  if (!started) co_return;
  UniqueFd own(::fcntl(descriptor, F_DUPFD_CLOEXEC, 3));
  if (!own) throw io_error("dup", errno);
  const auto agent = Agent::start(executor_, Transport(std::move(own)), agent_to_start(), window);
  agent_ = agent;
  co_await with_timeout(start_limit, "the answer of the agent on the host", agent->wait_up());
  took_ = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun);
  guest_ = std::make_shared<AgentHost>(agent);
  was_reached_ = true;
  last_failure_.reset();
  log::info("{} is reached after {} ms", config_.remote, took_.count());
  changed_.notify_all();
  if (config_.on_change) config_.on_change(true);
  co_await agent->lost();
  log::warn("{} is lost: {}", config_.remote, agent->reason());
}

asio::awaitable<std::shared_ptr<Guest>> HostLink::wait_for_guest() {
  for (;;) {
    if (given_up_) throw *given_up_;
    if (connected()) co_return guest_;
    if (last_failure_ && (!was_reached_ || has_to_be_mended(*last_failure_))) throw *last_failure_;
    co_await changed_.wait();
  }
}

asio::awaitable<std::shared_ptr<Guest>> HostLink::guest(std::chrono::milliseconds limit) {
  const Visits::Visit visit(visits_);
  try {
    co_return co_await with_timeout(limit, "reaching the host", wait_for_guest());
  } catch (const Error& error) {
    if (error.code() != Errc::timed_out) throw;
  }
  if (last_failure_) throw *last_failure_;
  throw Error(Errc::guest_failed, config_.remote + " does not answer", "try it by hand: ssh " + config_.remote);
}

asio::awaitable<void> HostLink::check() {
  const Visits::Visit visit(visits_);
  const auto asked = agent_;
  if (asked) co_await asked->end_if_silent(config_.answer);
}

void HostLink::log_in_again() {
  const auto asked = agent_;
  guest_.reset();  // nobody gets the old one any more
  if (asked) asked->stop("logging in anew");
}

void HostLink::give_up(Error why) {
  given_up_ = std::move(why);
  changed_.notify_all();
}

asio::awaitable<void> HostLink::stop() {
  give_up(Error(Errc::not_running, "the host is being let go"));
  co_await tasks_.stop();
  guest_.reset();
  agent_.reset();
  co_await visits_.over();
}

}  // namespace cl
