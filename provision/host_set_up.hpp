#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "provision/guest.hpp"
#include "src/base/error.hpp"

/// Docker on a host that is not ours: what is there, what has to be changed, and what was changed, taken back
/// (scripts/host.sh).
namespace cl {

struct RemoteFacts {
  std::string kernel, architecture, user, system;  ///< "Linux", "x86_64", "root", "Debian GNU/Linux 12 (bookworm)"
  bool apt = false;                                ///< Debian or its kin
  bool systemd = false;
  bool root = false;       ///< by sudo, too
  bool docker = false;     ///< it is installed
  bool socket = false;     ///< /var/run/docker.sock is there,
  bool access = false;     ///< and this user may connect to it
  bool answers = false;    ///< somebody accepts connections there; the caller's to find out
  std::uint64_t free = 0;  ///< bytes, where Docker's data is
  std::int64_t time = 0;   ///< its clock
};

/// Of what the script says; what is not understood is passed over.
RemoteFacts read_remote_facts(std::string_view lines);
/// Changes nothing. Throws Error{guest_failed}.
asio::awaitable<RemoteFacts> look_at_host(Guest& host);

/// One thing that is changed on a host.
struct HostChange {
  std::string verb;  ///< of the script
  std::string text;  ///< for people, before it is done: "installs ..."
};
/// What makes the host's Docker ours to use, in this order; empty: it is. Throws Error{host_requirement} for what we
/// cannot do: the reason, and what its owner can do. `host` is its name, for the texts.
std::vector<HostChange> plan_host(const RemoteFacts& facts, const std::string& host);
/// Does one. Throws Error{guest_failed} with its last lines.
asio::awaitable<void> change_host(Guest& host, HostChange change);

struct TakenBack {
  std::vector<std::string> back, left;  ///< for people
};
/// Takes back all that was changed there, `data` too, and removes the agent.
asio::awaitable<TakenBack> take_back_from_host(Guest& host, bool data);

/// Throws Error{host_requirement} for an engine that is older than what we need.
void require_docker_version(const std::string& version, const std::string& host);

}  // namespace cl
