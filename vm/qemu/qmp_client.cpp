#include "vm/qemu/qmp_client.hpp"

#include <array>
#include <boost/asio/write.hpp>
#include <boost/json/serialize.hpp>
#include <map>
#include <optional>

#include "src/base/log.hpp"
#include "src/base/net/unix_socket.hpp"
#include "src/base/platform.hpp"
#include "src/base/task_group.hpp"
#include "vm/qemu/qmp_codec.hpp"

namespace cl {
namespace json = boost::json;

struct QmpClient::Core {
  struct Reply {
    explicit Reply(const asio::any_io_executor& executor) : arrived(executor) {}
    Event arrived;
    std::optional<json::object> message;  ///< empty after `arrived`: the connection was lost
  };

  explicit Core(const asio::any_io_executor& executor)
      : socket(executor), to_write(executor), greeted(executor), gone(executor), tasks(executor) {}

  UnixSocket socket;
  QmpDecoder decoder;
  OnEvent on_event;
  std::map<std::int64_t, std::shared_ptr<Reply>> waiting;
  std::int64_t last_id = 0;
  std::string outbox;
  Event to_write;  ///< outbox has bytes, or the connection is gone
  Event greeted;   ///< the greeting came, or the connection is gone
  Event gone;
  std::string why_gone = "QEMU closed its control socket";
  TaskGroup tasks;

  void close() noexcept {
    if (gone.is_set()) return;
    error_code ignored;
    socket.close(ignored);
    gone.set();
    greeted.set();
    to_write.set();
    for (auto& [id, reply] : waiting) reply->arrived.set();
  }

  void handle(json::object message) {
    if (message.contains("QMP")) {
      greeted.set();
    } else if (const json::value* event = message.if_contains("event")) {
      const json::value* data = message.if_contains("data");
      const bool has_data = data != nullptr && data->is_object();
      if (on_event && event->is_string()) on_event(event->get_string(), has_data ? data->get_object() : json::object{});
    } else if (const json::value* id = message.if_contains("id"); id != nullptr && id->is_int64()) {
      const auto found = waiting.find(id->get_int64());
      if (found == waiting.end()) return;  // its caller was cancelled
      found->second->message = std::move(message);
      found->second->arrived.set();
    } else {
      // An answer to no command of ours: QEMU could not parse what it got. Whoever waits would wait for ever.
      throw Error(Errc::protocol, "QEMU sent a control message that answers nothing").because(json::serialize(message));
    }
  }
};

namespace {

// Both tasks hold the core: closing the socket ends them, and the last one to end frees it.

template <class Core>
asio::awaitable<void> read_messages(std::shared_ptr<Core> core) {
  std::array<char, 16 * 1024> buffer;
  while (!core->gone.is_set()) {
    auto [ec, got] = co_await core->socket.async_read_some(asio::buffer(buffer), no_throw);
    if (ec) break;
    try {
      core->decoder.feed(std::string_view(buffer.data(), got));
      while (auto message = core->decoder.next()) core->handle(std::move(*message));
    } catch (const Error& error) {
      core->why_gone = one_line(error);
      break;
    } catch (const std::exception& error) {
      core->why_gone = std::string("QEMU sent what cannot be understood: ") + error.what();
      break;
    }
  }
  core->close();
}

template <class Core>
asio::awaitable<void> write_commands(std::shared_ptr<Core> core) {
  for (;;) {
    co_await core->to_write.wait();
    if (core->gone.is_set()) co_return;
    core->to_write.reset();
    const std::string batch = std::exchange(core->outbox, {});
    auto [ec, put] = co_await asio::async_write(core->socket, asio::buffer(batch), no_throw);
    if (ec) core->close();
  }
}

Error busy(const std::filesystem::path& path) {
  return Error(Errc::busy, "QEMU's control socket " + path.string() + " does not answer",
               "another process is connected to it, or QEMU hangs: 'ss -xp' names both; "
               "'colima-like stop --force' ends the machine");
}

}  // namespace

QmpClient::QmpClient(std::shared_ptr<Core> core) : core_(std::move(core)) {}
QmpClient::~QmpClient() { close(); }
void QmpClient::close() noexcept { core_->close(); }
bool QmpClient::is_open() const noexcept { return !core_->gone.is_set(); }

pid_t QmpClient::peer_pid() const { return platform::peer_pid(core_->socket.native_handle()); }

asio::awaitable<void> QmpClient::closed() {
  auto core = core_;  // the client may go while somebody waits
  co_await core->gone.wait();
}

asio::awaitable<std::unique_ptr<QmpClient>> QmpClient::connect(std::filesystem::path path,
                                                               std::chrono::milliseconds limit, OnEvent on_event) {
  auto executor = co_await asio::this_coro::executor;
  auto core = std::make_shared<Core>(executor);
  core->on_event = std::move(on_event);
  const error_code ec = co_await try_connect(core->socket, path);
  if (ec == boost::system::errc::filename_too_long)
    throw Error(Errc::invalid_config, "the path of QEMU's control socket is too long: " + path.string(),
                "use a shorter profile name or a shorter COLIMA_LIKE_HOME");
  if (ec == boost::system::errc::no_such_file_or_directory || ec == asio::error::connection_refused)
    throw Error(Errc::not_found, "no QEMU listens at " + path.string());
  if (ec == asio::error::try_again || ec == asio::error::would_block)  // its short queue of callers is full
    throw busy(path).because("others are waiting for it already");
  if (ec) throw io_error("cannot connect to QEMU's control socket " + path.string(), ec.value());

  std::unique_ptr<QmpClient> client(new QmpClient(core));
  core->tasks.spawn("reading QEMU's control socket", read_messages(core));
  core->tasks.spawn("writing QEMU's control socket", write_commands(core));
  try {
    co_await with_timeout(limit, "waiting for QEMU's greeting", core->greeted.wait());
  } catch (const Error& error) {
    if (error.code() != Errc::timed_out) throw;
    throw busy(path).because("no greeting came in " + std::to_string(limit.count()) + " ms");
  }
  co_await with_timeout(limit, "opening QEMU's control connection", client->execute("qmp_capabilities"));
  co_return client;
}

asio::awaitable<json::value> QmpClient::execute(std::string command, json::object arguments) {
  auto core = core_;
  auto refused = [&] { return Error(Errc::protocol, "QEMU did not do '" + command + "'"); };
  if (core->gone.is_set()) throw refused().because(core->why_gone);
  const std::int64_t id = ++core->last_id;
  auto reply = std::make_shared<Core::Reply>(core->socket.get_executor());
  core->waiting.emplace(id, reply);
  core->outbox += encode_qmp_command(command, arguments, id);
  core->to_write.set();
  try {
    co_await reply->arrived.wait();
  } catch (...) {
    core->waiting.erase(id);
    throw;
  }
  core->waiting.erase(id);
  if (!reply->message) throw refused().because(core->why_gone);
  if (const json::value* error = reply->message->if_contains("error")) {
    const json::value* words = error->is_object() ? error->get_object().if_contains("desc") : nullptr;
    throw refused().because(words != nullptr && words->is_string() ? std::string_view(words->get_string()) : "");
  }
  json::value* result = reply->message->if_contains("return");
  if (result == nullptr) throw refused().because("its reply has neither a result nor an error");
  co_return std::move(*result);
}

}  // namespace cl
