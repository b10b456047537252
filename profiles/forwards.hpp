#pragma once

#include <boost/json/array.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Ports and unix sockets that are carried between this computer and the machine, as the user writes them down
/// (docs/forwards.md has the grammar), and what became of them.
namespace cl {

/// One end of a forward: a port, or a unix socket.
struct ForwardEnd {
  std::string path;     ///< of a unix socket; on this computer it may begin with ~; empty: a port
  std::string address;  ///< of a port; numeric
  std::uint16_t port = 0;

  bool is_socket() const noexcept { return !path.empty(); }
  /// "127.0.0.1:80", "[::1]:80", "~/x.sock".
  std::string str() const;
  bool operator==(const ForwardEnd&) const = default;
};

/// One item of the key `forwards`, taken apart.
struct Forward {
  bool reverse = false;  ///< it listens in the machine and leads to this computer; else the other way
  bool udp = false;
  ForwardEnd from;  ///< where it listens
  ForwardEnd to;

  /// "tcp", "udp" or "unix", which is what clients speak with it.
  std::string_view protocol() const noexcept { return from.is_socket() ? "unix" : udp ? "udp" : "tcp"; }
  /// Both listen at the same place: only one of them can be open.
  bool same_place(const Forward& other) const;
  bool operator==(const Forward&) const = default;
};

/// Says what is wrong with the text, or nothing. Pure.
std::optional<std::string> parse_forward(std::string_view text, Forward& into);
/// Likewise for a whole list: each item, two that listen at the same place, too many.
std::optional<std::string> check_forwards(const std::vector<std::string>& items);

/// "127.0.0.1:8080 on this host leads to 127.0.0.1:80 in the machine".
std::string in_words(const Forward& forward);

/// The items that `text` means to a person who wants one removed: the same forward, or where it listens ("8080",
/// "127.0.0.1:8080", "53/udp", "/run/x.sock"); with `reverse` among those that listen in the machine.
std::vector<std::string> matching_forwards(const std::vector<std::string>& items, std::string_view text, bool reverse);

/// A profile has at most so many.
inline constexpr std::size_t most_forwards = 64;
/// Begins the items of those that listen in the machine.
inline constexpr std::string_view reverse_prefix = "reverse:";

/// A forward of a machine that runs, as state.json keeps it.
struct ForwardState {
  std::string forward;  ///< the item
  std::string state;    ///< "open", "failed"; "waiting": it is opened once the machine can be reached
  std::string problem;  ///< of one that has failed
  std::string remedy;
  bool operator==(const ForwardState&) const = default;
};
boost::json::array to_json(const std::vector<ForwardState>& forwards);
/// Throws std::exception for what to_json() did not make.
std::vector<ForwardState> forwards_from_json(const boost::json::array& array);

}  // namespace cl
