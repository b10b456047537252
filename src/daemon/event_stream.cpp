#include "src/daemon/event_stream.hpp"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <ctime>

#include "src/daemon/session.hpp"

namespace cl {
namespace {

namespace json = boost::json;

/// Ports open and close without a change of the state, so a watcher looks at them as often as this.
constexpr std::chrono::milliseconds look_again(250);

Watched look(Session& session) {
  const State& state = session.state();
  return {std::string(shown_phase(state)),
          state.reason,
          session.open_ports(),
          state.shares,
          state.forwards,
          state.egress_refusals};
}

class Lines {
 public:
  Lines(const std::string& profile, std::int64_t time) : profile_(profile), time_(time) {}
  void add(std::string_view event, json::object more) {
    json::object line{{"event", event}, {"time", time_}, {"profile", profile_}};
    for (auto& [key, value] : more) line[key] = std::move(value);
    lines.push_back(json::serialize(line));
  }
  std::vector<std::string> lines;

 private:
  const std::string& profile_;
  std::int64_t time_;
};

json::object describe(std::string_view action, const ShareState& share) {
  json::object one{
      {"action", action}, {"location", share.location}, {"mount_point", share.mount_point}, {"type", share.type}};
  if (!share.problem.empty()) one["problem"] = share.problem;
  return one;
}

json::object describe(std::string_view action, const PortStatus& port) {
  json::object one{{"action", action},
                   {"address", port.at.address.to_string()},
                   {"port", port.at.port},
                   {"protocol", to_string(port.at.protocol)},
                   {"reach", port.for_network() ? "network" : "host"},
                   {"container", port.container}};
  if (!port.problem.empty()) one["problem"] = port.problem;
  return one;
}

json::object describe(std::string_view action, const ForwardState& forward) {
  json::object one{{"action", action}, {"forward", forward.forward}};
  if (!forward.problem.empty()) one["problem"] = forward.problem;
  return one;
}

/// The action that tells how it is now.
template <class Item>
std::string_view action_of(const Item& item, std::string_view works) {
  return item.problem.empty() ? works : "failed";
}
std::string_view action_of(const ForwardState& forward, std::string_view) { return forward.state; }

/// Tells of those that are gone, and then of each that is new, or is in another way than before: a port that another
/// container has taken over is closed first.
template <class Item, class Same>
void compare(Lines& lines, std::string_view event, std::string_view works, std::string_view gone,
             const std::vector<Item>& before, const std::vector<Item>& now, const Same& same) {
  const auto in = [&same](const std::vector<Item>& list, const Item& item) {
    return std::find_if(list.begin(), list.end(), [&](const Item& one) { return same(one, item); });
  };
  for (const Item& item : before)
    if (in(now, item) == now.end()) lines.add(event, describe(gone, item));
  for (const Item& item : now) {
    const auto was = in(before, item);
    if (was == before.end() || was->problem != item.problem || action_of(*was, works) != action_of(item, works))
      lines.add(event, describe(action_of(item, works), item));
  }
}

bool same_share(const ShareState& a, const ShareState& b) {
  return a.location == b.location && a.mount_point == b.mount_point && a.type == b.type;
}

bool same_port(const PortStatus& a, const PortStatus& b) {
  return !(a.at < b.at) && !(b.at < a.at) && a.container_id == b.container_id;
}

bool same_forward(const ForwardState& a, const ForwardState& b) { return a.forward == b.forward; }

asio::awaitable<void> follow(Session& session, rpc::FrameSender& sender) {
  auto executor = co_await asio::this_coro::executor;
  std::optional<Watched> before;
  for (;;) {
    Watched now = look(session);
    std::string text;
    for (const std::string& line : events_between(before, now, session.name(), std::time(nullptr))) text += line + "\n";
    before = std::move(now);
    if (!text.empty()) {
      rpc::Frame frame{rpc::Frame::Kind::output, std::move(text)};
      co_await sender.send(std::move(frame));
      continue;  // what has changed while that was sent
    }
    asio::steady_timer timer(executor, look_again);
    auto either = asio::experimental::make_parallel_group(asio::co_spawn(executor, session.changed(), asio::deferred),
                                                          timer.async_wait(asio::deferred));
    co_await either.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  }
}

}  // namespace

std::vector<std::string> events_between(const std::optional<Watched>& before, const Watched& now,
                                        const std::string& profile, std::int64_t time) {
  Lines lines(profile, time);
  const Watched nothing;
  const Watched& was = before ? *before : nothing;
  if (!before || was.state != now.state || was.reason != now.reason) {
    json::object state{{"state", now.state}};
    if (before) state["before"] = was.state;
    if (!now.reason.empty()) state["reason"] = now.reason;
    lines.add("state", std::move(state));
  }
  compare(lines, "share", "mounted", "removed", was.shares, now.shares, &same_share);
  compare(lines, "port", "open", "closed", was.ports, now.ports, &same_port);
  compare(lines, "forward", "open", "closed", was.forwards, now.forwards, &same_forward);
  for (const EgressRefusal& one : now.refusals) {
    const auto same = [&one](const EgressRefusal& other) { return other.what == one.what; };
    const auto known = std::find_if(was.refusals.begin(), was.refusals.end(), same);
    if (known == was.refusals.end() || known->last < one.last)
      lines.add("refused", json::object{{"what", one.what}, {"count", one.count}});
  }
  return std::move(lines.lines);
}

asio::awaitable<void> stream_events(Session& session, rpc::Connection& connection) {
  auto executor = co_await asio::this_coro::executor;
  json::object nothing;
  co_await connection.answer(std::move(nothing));
  rpc::FrameSender sender(connection, executor);
  co_await connection.serve_until_gone(follow(session, sender));
}

}  // namespace cl
