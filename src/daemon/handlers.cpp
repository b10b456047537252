#include "src/daemon/handlers.hpp"

#include <cstdlib>

#include "src/base/log.hpp"
#include "src/base/task_group.hpp"

namespace cl {
namespace json = boost::json;
namespace {

using Kind = rpc::Frame::Kind;

std::map<std::string, std::string> text_map(const json::object& arguments, std::string_view key) {
  std::map<std::string, std::string> map;
  for (const auto& [name, value] : arguments.at(key).as_object()) map[name] = value.as_string();
  return map;
}

/// A watcher may say "cancel", which ends the job for everybody, or just go away, which ends nothing.
asio::awaitable<void> listen_for_cancel(rpc::Connection& connection, std::shared_ptr<Job> job) {
  const auto line = co_await connection.read_line();
  if (line && rpc::decode_request(*line).verb == "cancel") job->cancel();
}

asio::awaitable<void> attend(rpc::Connection& connection, std::shared_ptr<Job> job) {
  TaskGroup listener(co_await asio::this_coro::executor);
  listener.spawn("cancel", listen_for_cancel(connection, job));
  std::exception_ptr failure;
  std::size_t position = 0;
  try {
    for (;;) {
      auto progress = co_await job->next(position);
      if (!progress) break;
      co_await connection.write_line(rpc::encode(rpc::Answer(std::move(*progress))));
    }
    json::object result = co_await job->result();
    co_await connection.write_line(rpc::encode(rpc::Answer(std::move(result))));
  } catch (...) {
    failure = std::current_exception();
  }
  co_await listener.stop();
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

ExecRequest exec_request(const json::object& arguments) {
  ExecRequest request;
  request.command = arguments.at("command").as_string();
  if (arguments.contains("columns")) {
    TerminalSize size;
    size.columns = arguments.at("columns").to_number<int>();
    size.rows = arguments.at("rows").to_number<int>();
    request.terminal = size;
    request.terminal_type = arguments.at("term").as_string();
  }
  return request;
}

asio::awaitable<void> exec(Session& session, rpc::Connection& connection, ExecRequest request) {
  auto executor = co_await asio::this_coro::executor;
  const Session::Use use(session);
  auto guest = co_await session.guest();
  auto process = co_await guest->exec(std::move(request));
  co_await connection.write_line(rpc::encode(rpc::Answer(json::object{})));

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
  co_await input.stop();
  process->io().close();
  connection.close();  // the answer was given: a failure now can only be told by the end of the connection
  try {
    if (failure) std::rethrow_exception(failure);
  } catch (const Error& error) {
    log::info("a command in the guest ended early: {}", one_line(error));
  }
}

json::object describe_ports(const std::vector<PortStatus>& ports) {
  json::array all;
  for (const PortStatus& port : ports) {
    json::object one{{"container", port.container},
                     {"container_id", port.container_id},
                     {"address", port.at.address.to_string()},
                     {"port", port.at.port},
                     {"protocol", to_string(port.at.protocol)},
                     {"state", port.problem.empty() ? "open" : "failed"},
                     {"connections", port.connections},
                     {"bytes_in", port.to_container},
                     {"bytes_out", port.from_container},
                     {"since", port.since}};
    if (!port.problem.empty()) one["problem"] = port.problem;
    if (!port.remedy.empty()) one["remedy"] = port.remedy;
    all.push_back(std::move(one));
  }
  json::object result;
  result["ports"] = std::move(all);
  return result;
}

}  // namespace

asio::awaitable<void> handle(Session& session, rpc::Connection& connection, rpc::Request request) {
  const json::object& arguments = request.arguments;
  if (request.verb == "start") {
    StartOrder order;
    order.settings = text_map(arguments, "settings");
    order.environment = text_map(arguments, "environment");
    order.cold = arguments.at("cold").as_bool();
    order.is_new = arguments.at("is_new").as_bool();
    co_await attend(connection, session.start(std::move(order)));
  } else if (request.verb == "stop") {
    co_await attend(connection, session.stop(arguments.at("force").as_bool()));
  } else if (request.verb == "suspend") {
    co_await attend(connection, session.suspend());
  } else if (request.verb == "delete") {
    co_await attend(connection, session.remove(arguments.at("data").as_bool()));
  } else if (request.verb == "ports") {
    const std::vector<PortStatus> ports = co_await session.ports();
    co_await connection.write_line(rpc::encode(rpc::Answer(describe_ports(ports))));
  } else if (request.verb == "exec") {
    co_await exec(session, connection, exec_request(arguments));
  } else if (request.verb == "ssh_server") {
    ExecRequest server;
    server.command = ssh_server;
    co_await exec(session, connection, std::move(server));
  } else if (request.verb == "apply") {
    co_await attend(connection, session.apply(text_map(arguments, "settings")));
  } else {
    throw Error(Errc::protocol, "the daemon does not know '" + request.verb + "'",
                "it may be of another version: run 'colima-like stop' and 'colima-like start'");
  }
}

}  // namespace cl
