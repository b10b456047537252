#include "src/forward/listener_watch.hpp"

#include <algorithm>
#include <sstream>
#include <utility>

#include "src/base/log.hpp"

namespace cl {

namespace {

constexpr auto again = std::chrono::seconds(1);  // after the agent or the guest was lost
constexpr std::size_t most_listeners = 10'000;   // that the agent reports
constexpr std::size_t longest_group = 512;       // real ones are half of that, and are kept as long as their listener

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
  if (listener.control_group.size() > longest_group) return std::nullopt;
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
  const auto service = co_await reached->open_service("listeners");
  std::vector<Listener> list;
  for (;;) {
    const auto lines = co_await service->read();
    if (!lines) throw Error(Errc::guest_failed, "the agent in the guest does not look for listeners any more");
    take(*lines, list);
  }
}

/// Lines up to "." are one list.
void ListenerWatch::take(std::string_view lines, std::vector<Listener>& list) {
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
    if (line == ".") {
      set(std::exchange(list, {}));
    } else if (auto listener = read_listener(line)) {
      if (list.size() >= most_listeners)
        throw Error(Errc::protocol, "the agent in the guest tells listeners without end");
      list.push_back(std::move(*listener));
    }
  }
}

void ListenerWatch::set(std::vector<Listener> list) {
  if (list.empty() && now_.empty()) return;
  now_ = std::move(list);
  on_change_();
}

}  // namespace cl
