#include "vm/vz/rest.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <string_view>

#include "src/base/json.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/net/unix_socket.hpp"
#include "src/base/platform.hpp"
#include "vm/http_response.hpp"

namespace cl::vfkit {
namespace {

namespace json = boost::json;

constexpr std::size_t body_limit = 1024 * 1024;
constexpr std::size_t json_depth = 16;

struct Answer {
  unsigned status = 0;
  json::value body;
  pid_t pid = 0;
};

Error nonsense(const std::string& request, std::string_view cause) {
  return Error(Errc::protocol, "the answer to vfkit's " + request + " makes no sense").because(cause);
}

asio::awaitable<UnixSocket> connect(std::filesystem::path path) {
  UnixSocket socket(co_await asio::this_coro::executor);
  const error_code ec = co_await try_connect(socket, path);
  if (ec == boost::system::errc::filename_too_long)
    throw Error(Errc::invalid_config, "the path of vfkit's control socket is too long: " + path.string(),
                "use a shorter profile name or a shorter COLIMA_LIKE_HOME");
  if (ec == boost::system::errc::no_such_file_or_directory || ec == asio::error::connection_refused)
    throw Error(Errc::not_found, "no vfkit listens at " + path.string());
  if (ec) throw io_error("cannot connect to vfkit's control socket " + path.string(), ec.value());
  co_return socket;
}

asio::awaitable<Answer> exchange(std::filesystem::path path, std::string method, std::string target, std::string body) {
  UnixSocket socket = co_await connect(path);
  Answer answer;
  answer.pid = platform::peer_pid(socket.native_handle());
  SocketStream vfkit(std::move(socket));
  const std::string name = method + " " + target;
  std::string request = name + " HTTP/1.1\r\nHost: vfkit\r\nConnection: close\r\n";
  if (!body.empty()) request += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  request += "\r\n" + body;
  HttpResponse response([&vfkit](std::span<char> space) { return vfkit.read_some(space); });
  std::string text;
  try {
    co_await vfkit.write(request);
    co_await response.read_head();
    text = co_await response.read_body(body_limit);
  } catch (const Error& error) {
    if (error.code() == Errc::io && !response.has_begun())
      throw Error(Errc::not_found, "vfkit ended before it answered " + name).because(error.cause());
    throw nonsense(name, error.cause());
  }
  answer.status = response.status();
  if (!text.empty()) {
    json::parse_options options;
    options.max_depth = json_depth;
    error_code ec;
    answer.body = json::parse(text, ec, {}, options);
    if (ec) throw nonsense(name, ec.message());
  }
  co_return answer;
}

asio::awaitable<Answer> ask(std::filesystem::path path, std::string method, std::string target, std::string body,
                            std::chrono::milliseconds limit) {
  try {
    co_return co_await with_timeout(limit, "vfkit's answer",
                                    exchange(path, std::move(method), std::move(target), std::move(body)));
  } catch (const Error& error) {
    if (error.code() != Errc::timed_out) throw;
  }
  throw Error(Errc::busy, "vfkit does not answer at " + path.string(),
              "'colima-like stop --force' ends the machine, with its containers")
      .because("no answer came in " + std::to_string(limit.count()) + " ms");
}

bool flag_at(const json::value& object, std::string_view key) {
  const json::value* value = object.is_object() ? object.get_object().if_contains(key) : nullptr;
  return value != nullptr && value->is_bool() && value->get_bool();
}

}  // namespace

asio::awaitable<VmState> state(std::filesystem::path socket, std::chrono::milliseconds limit) {
  const Answer answer = co_await ask(std::move(socket), "GET", "/vm/state", "", limit);
  constexpr std::string_view prefix = "VirtualMachineState";
  VmState told;
  told.name = text_at(answer.body, "state");
  if (answer.status != 200 || !told.name.starts_with(prefix))
    throw nonsense("GET /vm/state", "status " + std::to_string(answer.status) + ": " + json::serialize(answer.body));
  told.name.erase(0, prefix.size());
  told.can_pause = flag_at(answer.body, "canPause");
  told.can_resume = flag_at(answer.body, "canResume");
  told.can_stop = flag_at(answer.body, "canStop");
  told.pid = answer.pid;
  co_return told;
}

asio::awaitable<void> change(std::filesystem::path socket, std::string to, std::chrono::milliseconds limit) {
  const std::string body = json::serialize(json::object{{"state", to}});
  const Answer answer = co_await ask(std::move(socket), "POST", "/vm/state", body, limit);
  if (answer.status / 100 == 2) co_return;
  const std::string why(text_at(answer.body, "error"));
  throw Error(Errc::io, "vfkit refuses '" + to + "'")
      .because(why.empty() ? "status " + std::to_string(answer.status) : why);
}

asio::awaitable<json::object> inspect(std::filesystem::path socket, std::chrono::milliseconds limit) {
  Answer answer = co_await ask(std::move(socket), "GET", "/vm/inspect", "", limit);
  if (answer.status != 200 || !answer.body.is_object())
    throw nonsense("GET /vm/inspect", "status " + std::to_string(answer.status));
  co_return std::move(answer.body.get_object());
}

}  // namespace cl::vfkit
