#include <algorithm>
#include <boost/json.hpp>

#include "profiles/edit.hpp"
#include "profiles/forwards.hpp"
#include "src/base/byte_size.hpp"
#include "src/base/file.hpp"
#include "src/base/path.hpp"
#include "src/cli/command.hpp"
#include "src/cli/config.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"
#include "src/cli/summary.hpp"

// `forward add`, `remove` and `list`. A machine that is there opens or closes it first, and then the profile's file is
// edited: what cannot be opened is not kept.

namespace cl::cli {
namespace {

namespace json = boost::json;

/// As the profile has it: a path of this host that begins with a dot is an absolute one there.
std::string item_of(std::string text, bool reverse) {
  if (text.starts_with(reverse_prefix)) {
    reverse = true;
    text.erase(0, reverse_prefix.size());
  }
  const auto colon = reverse ? text.rfind(':') : text.find(':');
  const auto begin = reverse && colon != std::string::npos ? colon + 1 : 0;
  const auto end = reverse ? text.size() : std::min(colon, text.size());
  const std::string ours = text.substr(begin, end - begin);
  if (ours.starts_with("./") || ours.starts_with("../"))
    text.replace(begin, end - begin, absolute_path(ours).lexically_normal().string());
  return (reverse ? std::string(reverse_prefix) : "") + text;
}

Forward parsed(const std::string& item) {
  Forward forward;
  if (const auto wrong = parse_forward(item, forward))
    throw Error(Errc::usage, "a forward " + *wrong, "'colima-like forward add --help' has examples");
  const ForwardEnd& here = forward.reverse ? forward.to : forward.from;
  const fs::path path = here.is_socket() ? expand_home(here.path) : fs::path();
  if (path.native().size() > platform::max_socket_path())
    throw Error(Errc::usage,
                path.string() + " is longer than the " + std::to_string(platform::max_socket_path()) +
                    " bytes that a unix socket's path may have",
                "put the socket into a folder with a shorter path");
  return forward;
}

std::vector<std::string> kept_items(const ConfigFile& config) {
  return load_layers(config.paths, {}, {}).profile.forwards;
}

std::string with_items(const ConfigFile& config, const std::vector<std::string>& items) {
  const std::string value = json::serialize(json::array(items.begin(), items.end()));
  return set_in_file(config.read(), *find_key("forwards"), value, config.file.string());
}

/// There is a machine, perhaps one that is being started or is suspended, and somebody to ask.
bool has_machine(const Observed& seen) {
  return seen.machine_alive || (seen.daemon_alive && seen.state.phase != "stopped");
}

template <class R>
rpc::Told ask(const ProfilePaths& paths, const std::string& item) {
  rpc::Told told;
  auto work = [](const ProfilePaths& of, R request, rpc::Told& into) -> asio::awaitable<int> {
    rpc::Connection daemon = co_await reach_daemon(of, false);
    into = co_await call_with_progress(daemon, std::move(request));
    co_return 0;
  };
  run_async(work(paths, R{item}, told));
  return told;
}

/// What the machine has, or what the profile would have of it.
struct Known {
  bool runs = false;
  std::vector<rpc::OpenForward> all;
};

Known known_forwards(const ProfilePaths& paths) {
  Known known;
  known.runs = has_machine(observe(paths));
  if (!known.runs) {
    for (const std::string& item : load_layers(paths, {}, {}).profile.forwards) {
      rpc::OpenForward one;
      one.forward = item;
      one.state = "not running";
      known.all.push_back(std::move(one));
    }
    return known;
  }
  auto work = [](const ProfilePaths& of, Known& into) -> asio::awaitable<int> {
    rpc::Connection daemon = co_await reach_daemon(of, false);
    rpc::Forwards request;
    into.all = (co_await call_with_progress(daemon, request)).forwards;
    co_return 0;
  };
  run_async(work(paths, known));
  return known;
}

json::object to_json(const rpc::OpenForward& open, bool runs) {
  json::object one = describe_forward({open.forward, open.state, open.problem.value_or(""), open.remedy.value_or("")});
  if (!runs) return one;
  one["connections"] = open.connections;
  one["bytes_in"] = open.bytes_in;
  one["bytes_out"] = open.bytes_out;
  one["since"] = open.since;
  return one;
}

void print_forwards(const Known& known) {
  std::vector<std::vector<std::string>> rows{{"FORWARD", "FROM", "TO", "STATE"}};
  if (known.runs) rows.front().insert(rows.front().end(), {"CONNECTIONS", "IN", "OUT"});
  for (const rpc::OpenForward& one : known.all) {
    Forward forward;
    parse_forward(one.forward, forward);
    const std::string here = "this host ", there = "machine ";
    std::vector<std::string> row{one.forward, (forward.reverse ? there : here) + forward.from.str(),
                                 (forward.reverse ? here : there) + forward.to.str(), one.state};
    if (known.runs)
      row.insert(row.end(), {forward.udp ? "" : std::to_string(one.connections), ByteSize::bytes(one.bytes_in).str(),
                             ByteSize::bytes(one.bytes_out).str()});
    rows.push_back(std::move(row));
  }
  print_table(rows);
  for (const rpc::OpenForward& one : known.all)
    if (one.problem) print_note(one.forward + ": " + *one.problem + (one.remedy ? "; " + *one.remedy : ""));
}

/// Puts it into the profile's file, as that is now.
void keep(const ConfigFile& config, const std::string& item) {
  const FileLock lock = config.lock();
  std::vector<std::string> items = kept_items(config);
  if (std::find(items.begin(), items.end(), item) != items.end()) return;
  items.push_back(item);
  config.install(with_items(config, items));
}

}  // namespace

json::object describe_forward(const ForwardState& state) {
  Forward forward;
  parse_forward(state.forward, forward);
  json::object one{{"forward", state.forward},       {"direction", forward.reverse ? "out_of_machine" : "into_machine"},
                   {"protocol", forward.protocol()}, {"from", forward.from.str()},
                   {"to", forward.to.str()},         {"state", state.state}};
  if (!state.problem.empty()) one["problem"] = state.problem;
  if (!state.remedy.empty()) one["remedy"] = state.remedy;
  return one;
}

std::vector<std::string> forward_items(const ProfilePaths& paths) {
  std::vector<std::string> items = load_layers(paths, {}, {}).profile.forwards;
  const Observed seen = observe(paths);
  if (!has_machine(seen)) return items;
  for (const std::string& item : seen.state.profile.forwards)
    if (std::find(items.begin(), items.end(), item) == items.end()) items.push_back(item);
  return items;
}

int run_forward_add(const Invocation& call) {
  const ConfigFile config = config_file(call);
  require_profile(config.paths);
  std::string item = item_of(call.word("FORWARD"), call.reverse);
  const Forward wanted = parsed(item);
  std::vector<std::string> items = kept_items(config);
  for (const std::string& other : items) {
    Forward one;
    if (parse_forward(other, one) || !one.same_place(wanted)) continue;
    if (!(one == wanted))
      throw Error(Errc::busy, "the forward " + other + " listens there already", "colima-like forward remove " + other);
    item = other;
  }
  if (std::find(items.begin(), items.end(), item) == items.end()) items.push_back(item);
  config.check(with_items(config, items), config.file.string());  // what would be refused is, before anything is opened

  const bool open = has_machine(observe(config.paths));
  rpc::Told told;
  if (open) told = ask<rpc::AddForward>(config.paths, item);
  try {
    keep(config, item);
  } catch (...) {
    if (open) ask<rpc::RemoveForward>(config.paths, item);
    throw;
  }
  for (const std::string& note : told.notes) print_note(note);
  if (!call.json) {
    if (!open) print_note("the machine does not run; its next start opens this");
    print_line(in_words(wanted));
    return 0;
  }
  const Known known = known_forwards(config.paths);
  for (const rpc::OpenForward& one : known.all)
    if (one.forward == item) print_json(to_json(one, known.runs));
  return 0;
}

int run_forward_remove(const Invocation& call) {
  const ConfigFile config = config_file(call);
  require_profile(config.paths);
  const std::string text = item_of(call.word("FORWARD"), call.reverse);
  const std::vector<std::string> found = matching_forwards(forward_items(config.paths), text, call.reverse);
  if (found.empty()) {
    const bool reverse =
        !call.reverse &&
        !matching_forwards(forward_items(config.paths), item_of(call.word("FORWARD"), true), true).empty();
    throw Error(
        Errc::not_found,
        text + " is not one of the profile's forwards" + (reverse ? " into the machine, but one out of it" : ""),
        reverse ? "colima-like forward remove -R " + call.word("FORWARD") : "colima-like forward list");
  }
  const bool open = has_machine(observe(config.paths));
  for (const std::string& item : found)
    if (open) ask<rpc::RemoveForward>(config.paths, item);
  {
    const FileLock lock = config.lock();
    std::vector<std::string> items = kept_items(config);
    const auto is_found = [&found](const std::string& one) {
      return std::find(found.begin(), found.end(), one) != found.end();
    };
    if (std::erase_if(items, is_found) > 0) config.install(with_items(config, items));
  }
  if (call.json) {
    print_json(json::object{{"profile", config.paths.name}, {"removed", json::array(found.begin(), found.end())}});
  } else {
    for (const std::string& item : found) print_line("removed " + item);
  }
  return 0;
}

int run_forward_list(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  const Known known = known_forwards(paths);
  if (call.json) {
    json::array all;
    for (const rpc::OpenForward& one : known.all) all.push_back(to_json(one, known.runs));
    print_json(all);
  } else if (known.all.empty()) {
    print_note(
        "nothing is forwarded; 'colima-like forward add 8080:80' leads this host's port 8080 to the machine's 80");
  } else {
    print_forwards(known);
  }
  return 0;
}

}  // namespace cl::cli
