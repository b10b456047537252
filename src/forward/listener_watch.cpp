#include "src/forward/listener_watch.hpp"

#include <array>
#include <sstream>
#include <utility>

#include "src/base/log.hpp"

namespace cl {

extern const std::string_view listen_watch_script;

namespace {

constexpr auto again = std::chrono::seconds(1);  // after the helper or the guest was lost
constexpr std::size_t longest_list = 4 << 20;    // bytes; a line has some 50

}  // namespace

std::optional<Listener> read_listener(std::string_view line) {
  std::istringstream words{std::string(line)};
  std::string protocol, address;
  int port = 0;
  Listener listener;
  if (!(words >> protocol >> address >> port >> listener.control_group)) return std::nullopt;
  error_code ec;
  listener.address = asio::ip::make_address(address, ec);
  if (ec || port <= 0 || port > 65535 || (protocol != "tcp" && protocol != "udp")) return std::nullopt;
  listener.protocol = protocol == "udp" ? Protocol::udp : Protocol::tcp;
  listener.port = static_cast<std::uint16_t>(port);
  return listener;
}

ListenerWatch::ListenerWatch(asio::any_io_executor executor, ReachGuest guest, std::function<void()> on_change)
    : guest_(std::move(guest)), on_change_(std::move(on_change)), tasks_(executor) {
  tasks_.spawn("listeners of the guest", keep_watching());
}

asio::awaitable<void> ListenerWatch::keep_watching() {
  for (;;) {
    try {
      auto reached = co_await guest_();
      co_await watch(std::move(reached));
    } catch (const Error& error) {
      log::warn("ports of the machine: {}", one_line(error));
    }
    set({});
    co_await sleep_for(again);
  }
}

asio::awaitable<void> ListenerWatch::watch(std::shared_ptr<Guest> reached) {
  ExecRequest request;
  request.command = "exec perl -e '" + std::string(listen_watch_script) + "'";
  auto process = co_await reached->exec(std::move(request));
  std::array<char, 16 * 1024> space;
  std::string unread;
  std::vector<Listener> list;
  for (;;) {
    const std::size_t got = co_await process->io().read_some(space);
    if (got == 0) break;
    unread.append(space.data(), got);
    take(unread, list);
    if (unread.size() > longest_list) throw Error(Errc::protocol, "the helper in the guest speaks nonsense");
  }
  const std::size_t got = co_await process->read_errors(space);
  throw Error(Errc::guest_failed, "the helper in the guest ended", "is perl there?")
      .because(std::string(space.data(), got));
}

/// Lines up to "." are one list.
void ListenerWatch::take(std::string& unread, std::vector<Listener>& list) {
  std::size_t begin = 0;
  for (std::size_t end = 0; (end = unread.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::string_view line = std::string_view(unread).substr(begin, end - begin);
    if (line == ".") {
      set(std::exchange(list, {}));
    } else if (auto listener = read_listener(line)) {
      list.push_back(std::move(*listener));
    }
  }
  unread.erase(0, begin);
}

void ListenerWatch::set(std::vector<Listener> list) {
  if (list.empty() && now_.empty()) return;
  now_ = std::move(list);
  on_change_();
}

}  // namespace cl
