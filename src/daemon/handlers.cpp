#include "src/daemon/handlers.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "src/base/task_group.hpp"
#include "src/daemon/event_stream.hpp"

namespace cl {
namespace json = boost::json;
namespace {

using Kind = rpc::Frame::Kind;
using std::chrono::milliseconds;

/// A watcher may say "cancel", which ends the job for everybody, or just go away, which ends nothing.
asio::awaitable<void> listen_for_cancel(rpc::Connection& connection, std::shared_ptr<Job> job) {
  const auto more = co_await connection.read_request();
  if (more && std::holds_alternative<rpc::Cancel>(*more)) job->cancel();
}

/// Tells the job's progress and its result to the connection of a request of kind R.
template <class R>
asio::awaitable<void> attend(rpc::Connection& connection, std::shared_ptr<Job> job) {
  TaskGroup listener(co_await asio::this_coro::executor);
  listener.spawn("cancel", listen_for_cancel(connection, job));
  std::exception_ptr failure;
  std::size_t position = 0;
  try {
    for (;;) {
      auto progress = co_await job->next(position);
      if (!progress) break;
      co_await connection.answer(std::move(*progress));
    }
    const json::object told = co_await job->result();
    const auto result = rpc::decode_result<R>(told);
    co_await connection.answer(rpc::to_object(result));
  } catch (...) {
    failure = std::current_exception();
  }
  // Also when the daemon ends: the listener reads from the connection, which is gone after this.
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await uninterrupted(listener.stop());
  co_await asio::this_coro::throw_if_cancelled(true);
  if (failure) std::rethrow_exception(failure);
}

asio::awaitable<void> send_stream(rpc::FrameSender& sender, ByteStream& from) {
  std::vector<char> buffer(64 * 1024);
  for (;;) {
    const std::size_t got = co_await from.read_some(buffer);
    if (got == 0) co_return;
    rpc::Frame frame{Kind::output, std::string(buffer.data(), got)};
    co_await sender.send(std::move(frame));
  }
}

asio::awaitable<void> send_errors(rpc::FrameSender& sender, GuestProcess& from) {
  std::vector<char> buffer(64 * 1024);
  for (;;) {
    const std::size_t got = co_await from.read_errors(buffer);
    if (got == 0) co_return;
    rpc::Frame frame{Kind::errors, std::string(buffer.data(), got)};
    co_await sender.send(std::move(frame));
  }
}

/// The client's frames to the process. When the client goes away the process is hung up on.
asio::awaitable<void> take_input(rpc::Connection& connection, GuestProcess& process) {
  for (;;) {
    auto frame = co_await connection.read_frame();
    if (!frame) break;
    if (frame->kind == Kind::input) co_await process.io().write(frame->payload);
    if (frame->kind == Kind::input_end) co_await process.io().shutdown_write();
    if (frame->kind == Kind::resize) {
      TerminalSize size;
      char* rest = nullptr;
      size.columns = static_cast<int>(std::strtol(frame->payload.c_str(), &rest, 10));
      size.rows = static_cast<int>(std::strtol(rest, nullptr, 10));
      co_await process.resize(size);
    }
  }
  process.io().close();
}

/// Whose input waits for the process to read it, and so is not looked at.
asio::awaitable<void> hang_up_after(rpc::Connection& connection, GuestProcess& process) {
  co_await connection.hung_up();
  process.io().close();
}

/// An SSH server for one client, on the connection that we have: as many as are asked for, and with the host key that
/// is pinned. The channel it runs through has no terminal, so it is eight bits clean.
constexpr const char* ssh_server = "exec /usr/sbin/sshd -i -e -f /usr/lib/colima-like/sshd_config 2>/dev/null";

ExecRequest exec_request(rpc::Exec asked) {
  ExecRequest request;
  request.command = std::move(asked.command);
  if (!asked.columns || !asked.rows) return request;
  TerminalSize size;
  size.columns = *asked.columns;
  size.rows = *asked.rows;
  request.terminal = size;
  request.terminal_type = asked.term.value_or("xterm");
  return request;
}

asio::awaitable<void> exec(Session& session, rpc::Connection& connection, ExecRequest request) {
  auto executor = co_await asio::this_coro::executor;
  const Session::Use use(session);
  auto guest = co_await session.guest();
  auto process = co_await guest->exec(std::move(request));
  json::object nothing;
  co_await connection.answer(std::move(nothing));

  rpc::FrameSender sender(connection, executor);
  TaskGroup input(executor);
  input.spawn("exec input", take_input(connection, *process));
  input.spawn("exec client", hang_up_after(connection, *process));
  std::exception_ptr failure;
  try {
    auto both = asio::experimental::make_parallel_group(
        asio::co_spawn(executor, send_stream(sender, process->io()), asio::deferred),
        asio::co_spawn(executor, send_errors(sender, *process), asio::deferred));
    co_await both.async_wait(asio::experimental::wait_for_all(), asio::use_awaitable);
    const int code = co_await process->wait_exit();
    rpc::Frame last{Kind::exit, std::to_string(code)};
    co_await sender.send(std::move(last));
  } catch (...) {
    failure = std::current_exception();
  }
  // Also when the daemon ends: both tasks use the connection and the process, which are gone after this.
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await uninterrupted(input.stop());
  co_await asio::this_coro::throw_if_cancelled(true);
  process->io().close();
  connection.close();  // the answer was given: a failure now can only be told by the end of the connection
  if (failure) std::rethrow_exception(failure);
}

rpc::PublishedPorts describe_ports(const std::vector<PortStatus>& ports) {
  rpc::PublishedPorts result;
  for (const PortStatus& port : ports) {
    rpc::PublishedPort one;
    one.container = port.container;
    one.container_id = port.container_id;
    one.address = port.at.address.to_string();
    one.port = port.at.port;
    one.protocol = to_string(port.at.protocol);
    one.reach = port.for_network() ? "network" : "host";
    one.state = port.problem.empty() ? "open" : "failed";
    one.connections = port.connections;
    one.bytes_in = port.to_container;
    one.bytes_out = port.from_container;
    one.since = port.since;
    if (!port.problem.empty()) one.problem = port.problem;
    if (!port.remedy.empty()) one.remedy = port.remedy;
    result.ports.push_back(std::move(one));
  }
  return result;
}

/// Those of forwards, too: whoever looks for a port of this host finds it here.
void add_ports(const std::vector<ForwardStatus>& forwards, rpc::PublishedPorts& result) {
  for (const ForwardStatus& status : forwards) {
    Forward forward;
    if (parse_forward(status.forward, forward) || forward.reverse || forward.from.is_socket()) continue;
    rpc::PublishedPort one;
    one.forward = status.forward;
    one.address = forward.from.address;
    one.port = forward.from.port;
    one.protocol = forward.protocol();
    one.state = status.state;
    one.connections = status.connections;
    one.bytes_in = status.into_machine;
    one.bytes_out = status.out_of_it;
    one.since = status.since;
    if (!status.problem.empty()) one.problem = status.problem;
    if (!status.remedy.empty()) one.remedy = status.remedy;
    result.ports.push_back(std::move(one));
  }
}

asio::awaitable<void> list_ports(Session& session, rpc::Connection& connection) {
  const std::vector<PortStatus> ports = co_await session.ports();
  rpc::PublishedPorts result = describe_ports(ports);
  add_ports(co_await session.forwards(), result);
  co_await connection.answer(rpc::to_object(result));
}

asio::awaitable<void> list_forwards(Session& session, rpc::Connection& connection) {
  rpc::OpenForwards result;
  for (const ForwardStatus& status : co_await session.forwards()) {
    rpc::OpenForward one;
    one.forward = status.forward;
    one.state = status.state;
    if (!status.problem.empty()) one.problem = status.problem;
    if (!status.remedy.empty()) one.remedy = status.remedy;
    one.connections = status.connections;
    one.bytes_in = status.into_machine;
    one.bytes_out = status.out_of_it;
    one.since = status.since;
    result.forwards.push_back(std::move(one));
  }
  co_await connection.answer(rpc::to_object(result));
}

constexpr auto answer_limit = std::chrono::seconds(30);  // of the guest's agent

/// What the guest's agent counts, at this moment.
asio::awaitable<std::string> read_statistics(Session& session) {
  const auto guest = co_await session.guest();
  const auto service = co_await guest->open_service("statistics");
  const std::string reading = co_await with_timeout(answer_limit, "the guest's statistics", read_to_end(*service));
  co_return reading + ".\n";
}

/// `reading` and those after it, until the machine rests.
asio::awaitable<void> send_statistics(Session& session, rpc::FrameSender& sender, std::string reading,
                                      milliseconds interval) {
  constexpr milliseconds first_interval(500), shortest(100), longest(60'000);
  for (milliseconds pause = first_interval;; pause = std::clamp(interval, shortest, longest)) {
    while (!reading.empty()) {
      rpc::Frame frame{Kind::output, reading.substr(0, rpc::max_payload)};
      reading.erase(0, frame.payload.size());
      co_await sender.send(std::move(frame));
    }
    co_await sleep_for(pause);
    if (!is<phase::Running>(session.phase())) co_return;
    reading = co_await read_statistics(session);
  }
}

asio::awaitable<void> stream_statistics(Session& session, rpc::Connection& connection, milliseconds interval) {
  const Session::Use use(session);
  std::string first = co_await read_statistics(session);
  json::object nothing;
  co_await connection.answer(std::move(nothing));
  rpc::FrameSender sender(connection, co_await asio::this_coro::executor);
  co_await connection.serve_until_gone(send_statistics(session, sender, std::move(first), interval));
}

/// One function for each verb.
struct Handler {
  Session& session;
  rpc::Connection& connection;

  asio::awaitable<void> operator()(rpc::Start asked) const {
    StartOrder order;
    order.settings = std::move(asked.settings);
    order.environment = std::move(asked.environment);
    order.ssh_agent = std::move(asked.ssh_agent);
    order.cold = asked.cold;
    order.is_new = asked.is_new;
    order.new_data = asked.new_data;
    order.yes = asked.yes;
    return attend<rpc::Start>(connection, session.start(std::move(order)));
  }
  asio::awaitable<void> operator()(rpc::Apply asked) const {
    return attend<rpc::Apply>(connection, session.apply(std::move(asked.settings)));
  }
  asio::awaitable<void> operator()(rpc::Stop asked) const {
    return attend<rpc::Stop>(connection, session.stop(asked.force));
  }
  asio::awaitable<void> operator()(rpc::Suspend) const { return attend<rpc::Suspend>(connection, session.suspend()); }
  asio::awaitable<void> operator()(rpc::Delete asked) const {
    return attend<rpc::Delete>(connection, session.remove(asked.data));
  }
  asio::awaitable<void> operator()(rpc::Ports) const { return list_ports(session, connection); }
  asio::awaitable<void> operator()(rpc::AddForward asked) const {
    return attend<rpc::AddForward>(connection, session.add_forward(std::move(asked.forward)));
  }
  asio::awaitable<void> operator()(rpc::RemoveForward asked) const {
    return attend<rpc::RemoveForward>(connection, session.remove_forward(std::move(asked.forward)));
  }
  asio::awaitable<void> operator()(rpc::Forwards) const { return list_forwards(session, connection); }
  asio::awaitable<void> operator()(rpc::Describe) const {
    return connection.answer(rpc::to_object(rpc::Known{state_text(session.state()), session.unsaved()}));
  }
  asio::awaitable<void> operator()(rpc::Exec asked) const {
    return exec(session, connection, exec_request(std::move(asked)));
  }
  asio::awaitable<void> operator()(rpc::SshServer) const {
    ExecRequest server;
    server.command = ssh_server;
    return exec(session, connection, std::move(server));
  }
  asio::awaitable<void> operator()(rpc::Events) const { return stream_events(session, connection); }
  asio::awaitable<void> operator()(rpc::Statistics asked) const {
    return stream_statistics(session, connection, milliseconds(asked.interval_ms));
  }
  asio::awaitable<void> operator()(rpc::Cancel) const {
    throw Error(Errc::protocol, "'cancel' belongs behind a request that is under way");
  }
};

}  // namespace

asio::awaitable<void> handle(Session& session, rpc::Connection& connection, rpc::Request request) {
  return std::visit(Handler{session, connection}, std::move(request));
}

}  // namespace cl
