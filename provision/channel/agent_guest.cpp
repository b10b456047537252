#include "provision/channel/agent_guest.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cerrno>
#include <ctime>
#include <utility>

#include "provision/agent/embedded_agents.hpp"
#include "provision/channel/agent_start.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/net/relay.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/shell.hpp"

namespace cl {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto longest_pause = 2min;  // where there can be none: no such ports, nothing for this CPU
constexpr auto stood_long = 10s;      // an agent that ends sooner is not greeted again at once
constexpr auto redial_pause = 300ms;  // so that an agent sees the end of the connection before
constexpr auto quiesce_patience = 1s;
/// What an agent says that has no room, or whose system has none.
constexpr std::array<std::string_view, 4> limits{"too many streams", "too many services", "Too many open files",
                                                 "Cannot allocate memory"};
/// Where our images' agent is, too: vm/guest_image/rootfs/usr/lib/systemd/system/colima-like-agent.service.
constexpr const char* port_names = "colima-like.data.in colima-like.data.out";

bool is_built_for(const agent::Hello& hello) {
  for (const EmbeddedAgent& one : embedded_agents())
    if (agent::has_word(hello, one.architecture)) return true;
  return false;
}

/// A session that ends with this, unless it is taken out.
struct Holder {
  std::shared_ptr<Agent> agent;
  Holder() = default;
  explicit Holder(std::shared_ptr<Agent> one) : agent(std::move(one)) {}
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  ~Holder() { end(); }
  void end() noexcept {
    if (agent) agent->stop();
    agent.reset();
  }
};

asio::awaitable<void> log_errors(GuestProcess& process) {
  std::array<char, 512> space;
  for (;;) {
    const std::size_t got = co_await process.read_errors(space);
    if (got == 0) co_return;
    log::info("the guest's agent: {}", std::string_view(space.data(), got));
  }
}

/// Between a session and an exec channel, until either ends.
asio::awaitable<void> carry(std::shared_ptr<GuestProcess> process, std::shared_ptr<ByteStream> session) {
  co_await relay(*session, process->io());
  session->close();
  process->io().close();
}

asio::awaitable<void> follow_errors(std::shared_ptr<GuestProcess> process) { co_await log_errors(*process); }

}  // namespace

AgentGuest::AgentGuest(const asio::any_io_executor& executor, std::shared_ptr<Guest> ssh, Config config)
    : ssh_(std::move(ssh)), config_(std::move(config)), changed_(executor), tasks_(executor) {
  tasks_.spawn("the guest's agent", keep());
}

asio::awaitable<void> AgentGuest::keep() {
  std::chrono::milliseconds pause = config_.again;
  for (;;) {
    while (quiesced_) co_await changed_.wait();
    const auto begun = Clock::now();
    try {
      if (config_.ports)
        co_await serve_ports();
      else
        co_await serve_ssh();
    } catch (const Error& error) {
      // Over a port the session has ended with the machine, when that was suspended meanwhile.
      if (!quiesced_) log::warn("the guest's agent: {}; streams go by SSH", one_line(error));
      if (!quiesced_ && stood_) note_loss(error);
      if (!quiesced_ && !stood_) set_problem(one_line(error));
    }
    stood_ = false;
    changed_.notify_all();
    if (Clock::now() - begun > stood_long && state_.problem.empty()) {
      pause = config_.again;
      continue;
    }
    co_await sleep_for(pause);
    pause = std::min<std::chrono::milliseconds>(pause * 2, longest_pause);
  }
}

/// Returns by an exception when it is lost, or cannot be had.
asio::awaitable<void> AgentGuest::serve_ports() {
  Holder holder;
  std::string unanswered;
  try {
    holder.agent = co_await greet(config_.answer);
  } catch (const Error& error) {
    unanswered = one_line(error);
  }
  const std::string build = holder.agent ? holder.agent->hello().build : "";
  if (!holder.agent || (build != agent_build() && is_built_for(holder.agent->hello()))) {
    log::info("the guest's agent: {}", holder.agent ? "it is of another build, " + build : unanswered);
    const bool had_one = holder.agent != nullptr;
    holder.end();
    std::optional<Error> failure;
    try {
      co_await install(std::string("service ") + port_names);
    } catch (const Error& error) {
      failure = error;
    }
    if (failure && !had_one) throw *failure;
    if (failure) log::warn("the guest's agent stays one of another build: {}", one_line(*failure));
    holder.agent = co_await greet(config_.start);
  }
  const auto agent = holder.agent;
  co_await follow(agent);
}

asio::awaitable<void> AgentGuest::serve_ssh() {
  const auto executor = co_await asio::this_coro::executor;
  std::shared_ptr<GuestProcess> process = co_await install("stdio");
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw io_error("socketpair", errno);
  for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
  asio::local::stream_protocol::socket near(executor, asio::local::stream_protocol(), ends[0]);
  std::shared_ptr<ByteStream> session = std::make_shared<SocketStream>(SocketStream::Socket(std::move(near)));
  Transport transport{UniqueFd(ends[1])};
  TaskGroup watch(executor);
  watch.spawn("the guest's agent over SSH", carry(process, session));
  watch.spawn("what the guest's agent says", follow_errors(process));
  std::exception_ptr failure;
  {
    const Holder holder(Agent::start(executor, std::move(transport), std::string(agent_build())));
    try {
      co_await with_timeout(config_.start, "the answer of the guest's agent", holder.agent->wait_up());
      const auto agent = holder.agent;
      co_await follow(agent);
    } catch (...) {
      failure = std::current_exception();
    }
  }
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await uninterrupted(watch.stop());
  co_await asio::this_coro::throw_if_cancelled(true);
  std::rethrow_exception(failure);  // follow() has no other end
}

/// An agent that answers over the ports within `limit`, however often that takes dialling.
asio::awaitable<std::shared_ptr<Agent>> AgentGuest::greet(std::chrono::milliseconds limit) {
  const auto executor = co_await asio::this_coro::executor;
  const auto until = Clock::now() + limit;
  for (;;) {
    Transport transport = co_await config_.ports();
    Holder holder(Agent::start(executor, std::move(transport), std::string(agent_build())));
    std::optional<Error> failure;
    try {
      co_await with_timeout(std::min(limit, config_.answer), "the answer of the guest's agent",
                            holder.agent->wait_up());
    } catch (const Error& error) {
      failure = error;
    }
    if (!failure) co_return std::exchange(holder.agent, nullptr);
    holder.end();
    if (Clock::now() >= until) throw *failure;
    co_await sleep_for(redial_pause);
  }
}

/// Sees to it that the agent of this program runs in the guest; the process that did it, or has become it.
asio::awaitable<std::unique_ptr<GuestProcess>> AgentGuest::install(std::string how) {
  auto run = [](AgentGuest& self, std::string how) -> asio::awaitable<std::unique_ptr<GuestProcess>> {
    ExecRequest request;
    request.command = agent_start_command(shell_quoted(self.config_.folder), how);
    auto process = co_await self.ssh_->exec(std::move(request));
    if (co_await start_agent(process->io())) co_return process;
    std::array<char, 512> space;
    const std::size_t got = co_await process->read_errors(space);
    throw Error(Errc::guest_failed, "the agent cannot be started in the guest").because(std::string(space.data(), got));
  };
  auto running = run(*this, std::move(how));
  co_return co_await with_timeout(config_.start, "starting the guest's agent", std::move(running));
}

/// Streams go by it until it is lost, which throws.
asio::awaitable<void> AgentGuest::follow(std::shared_ptr<Agent> agent) {
  struct Standing {
    AgentGuest& guest;
    Standing(AgentGuest& of, std::shared_ptr<Agent> one) : guest(of) {
      guest.agent_ = std::move(one);
      guest.set_problem({});
      guest.stood_ = true;
      guest.changed_.notify_all();
    }
    Standing(const Standing&) = delete;
    Standing& operator=(const Standing&) = delete;
    ~Standing() { guest.agent_.reset(); }
  };
  log::info("the guest's agent answers, build {}", agent->hello().build);
  const Standing standing(*this, agent);
  co_await agent->lost();
  throw Error(Errc::io, "it is lost").because(agent->reason());
}

asio::awaitable<std::shared_ptr<Agent>> AgentGuest::wait_for_agent() {
  while (!by_agent()) {
    if (!agent_ && !state_.problem.empty()) throw Error(Errc::guest_failed, state_.problem);
    co_await changed_.wait();
  }
  co_return agent_;
}

asio::awaitable<std::shared_ptr<Agent>> AgentGuest::reach(std::string what) {
  std::string why;
  try {
    co_return co_await with_timeout(config_.patience, "the guest's agent", wait_for_agent());
  } catch (const Error& error) {
    why = one_line(error);
  }
  throw Error(Errc::guest_failed, "there is no agent in the guest for " + what).because(why);
}

void AgentGuest::set_problem(std::string why) {
  if (why == state_.problem) return;
  state_.problem = std::move(why);
  if (config_.on_state) config_.on_state();
}

void AgentGuest::note_loss(const Error& why) {
  ++state_.losses;
  state_.loss = why.cause().empty() ? one_line(why) : why.cause();
  state_.lost_at = std::time(nullptr);
  if (config_.on_state) config_.on_state();
}

/// When it is one: somebody whom nobody listens to is turned away, too.
void AgentGuest::note_refusal(const Error& why) {
  const std::string text = one_line(why);
  const auto limit = std::find_if(limits.begin(), limits.end(),
                                  [&](const std::string_view one) { return text.find(one) != std::string::npos; });
  if (limit == limits.end()) return;
  ++state_.refusals;
  const std::time_t now = std::time(nullptr);
  const bool told = state_.refusal == *limit && now == state_.refused_at;  // a flood is told once a second
  state_.refusal = *limit;
  state_.refused_at = now;
  if (!told && config_.on_state) config_.on_state();
}

/// Keeps account of what the agent turns away.
template <class T>
asio::awaitable<T> AgentGuest::watched(asio::awaitable<T> opening) {
  std::optional<Error> failure;
  try {
    co_return co_await std::move(opening);
  } catch (const Error& error) {
    failure = error;
  }
  note_refusal(*failure);
  throw *failure;
}

asio::awaitable<std::unique_ptr<GuestProcess>> AgentGuest::exec(ExecRequest request) {
  return ssh_->exec(std::move(request));
}

asio::awaitable<std::unique_ptr<ByteStream>> AgentGuest::open_unix(std::string path) {
  if (!by_agent()) return ssh_->open_unix(std::move(path));
  return watched(agent_->open_unix(std::move(path)));
}

asio::awaitable<std::unique_ptr<ByteStream>> AgentGuest::open_tcp(std::string host, std::uint16_t port) {
  error_code no_address;  // but a name, which sshd looks up
  asio::ip::make_address(host, no_address);
  if (!by_agent() || no_address) return ssh_->open_tcp(std::move(host), port);
  return watched(agent_->open_tcp(std::move(host), port));
}

asio::awaitable<std::unique_ptr<MessageStream>> AgentGuest::open_service(std::string what) {
  const auto agent = co_await reach(what.substr(0, what.find(' ')));
  co_return co_await watched(agent->open_service(std::move(what)));
}

asio::awaitable<std::unique_ptr<DatagramFlow>> AgentGuest::open_udp(std::string address, std::uint16_t port,
                                                                    DatagramFlow::OnDatagram on_datagram) {
  const auto agent = co_await reach("UDP");
  auto flow = agent->open_udp(address, port, std::move(on_datagram));
  if (!flow) throw Error(Errc::guest_failed, "the guest's agent is lost");
  co_return flow;
}

asio::awaitable<std::unique_ptr<GuestListener>> AgentGuest::listen(std::string where) {
  const auto agent = co_await reach("sockets that listen");
  co_return co_await watched(agent->listen(std::move(where)));
}

asio::awaitable<void> AgentGuest::lost() { return ssh_->lost(); }

asio::awaitable<void> AgentGuest::check(std::chrono::milliseconds limit) {
  const auto asked = agent_;
  if (asked) co_await asked->end_if_silent(limit);
}

asio::awaitable<void> AgentGuest::quiesce() {
  quiesced_ = true;
  const auto agent = agent_;
  if (!agent || !config_.ports) co_return;
  std::string trouble;
  try {
    co_await with_timeout(quiesce_patience, "silence of the guest's agent", agent->quiesce());
  } catch (const Error& error) {
    trouble = one_line(error);
  }
  if (!trouble.empty()) agent->stop(trouble);
}

asio::awaitable<void> AgentGuest::detached() {
  const auto agent = agent_;
  if (agent && config_.ports) co_await agent->detached();
}

asio::awaitable<void> AgentGuest::reattach() {
  const auto agent = agent_;
  if (!agent || !config_.ports || agent->ended()) co_return;
  try {
    Transport transport = co_await config_.ports();
    agent->reattach(std::move(transport));
  } catch (const Error& error) {
    agent->stop(one_line(error));
  }
}

void AgentGuest::resume() {
  quiesced_ = false;
  if (agent_ && config_.ports) agent_->resume();
  changed_.notify_all();
}

asio::awaitable<void> AgentGuest::stop() {
  state_.problem = "the way to the guest was closed";  // nobody waits for it any longer
  changed_.notify_all();
  return tasks_.stop();
}

}  // namespace cl
