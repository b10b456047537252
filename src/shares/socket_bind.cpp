#include "src/shares/socket_bind.hpp"

#include <utility>

#include "src/base/error.hpp"
#include "src/base/path.hpp"

namespace cl {
namespace {

namespace fs = std::filesystem;

/// Where `path` leads on this host, when that is a socket.
asio::awaitable<std::optional<fs::path>> socket_at(fs::path path, std::chrono::milliseconds limit) {
  auto look = [path]() -> std::optional<fs::path> {
    std::error_code missing;
    fs::path real = fs::canonical(path, missing);
    if (missing || fs::status(real, missing).type() != fs::file_type::socket) return std::nullopt;
    return real;
  };
  co_return co_await look_at(path, std::move(look), limit);
}

/// The share that shows `real` in the guest to who has followed the links in a path of the share `from`.
const SharedFolder* showing(const fs::path& real, const SharedFolder* from, const BindRules& rules) {
  if (from != nullptr && is_below(real, from->location)) return from;
  const SharedFolder* innermost = nullptr;
  for (const SharedFolder& folder : rules.shared) {
    if (folder.mount_point != folder.location || !folder.problem.empty() || !is_below(real, folder.location)) continue;
    if (innermost == nullptr || is_below(folder.location, innermost->location)) innermost = &folder;
  }
  return innermost;
}

[[noreturn]] void refuse(std::string what, std::string_view because, std::string remedy) {
  throw Error(Errc::invalid_config, std::move(what), std::move(remedy)).because(because);
}

asio::awaitable<SocketBind> agent_by_name(SocketRules rules, std::chrono::milliseconds limit) {
  const std::string what = std::string(agent_socket_name) + " is the ssh agent of this computer's user";
  constexpr const char* remedy =
      "'colima-like start' in a shell that has SSH_AUTH_SOCK tells it, also while the machine runs";
  if (rules.agent.empty()) refuse(what, "SSH_AUTH_SOCK was not set at any 'start' of this machine", remedy);
  if (!co_await socket_at(rules.agent, limit))
    refuse(what, rules.agent.string() + ", which it was at the last 'start', is no socket now", remedy);
  SocketBind bind;
  bind.source = bind.guest = agent_socket_name;
  co_return bind;
}

}  // namespace

asio::awaitable<std::optional<SocketBind>> socket_bind(std::string source, SocketRules rules,
                                                       std::chrono::milliseconds limit) {
  if (!source.starts_with('/')) co_return std::nullopt;  // a volume's name
  const fs::path path = fs::path(source).lexically_normal();
  if (path == agent_socket_name) {
    SocketBind agent = co_await agent_by_name(std::move(rules), limit);
    agent.source = std::move(source);
    co_return agent;
  }
  if (is_of_the_engine(path, rules.binds)) co_return std::nullopt;
  const SharedFolder* const folder = share_around(path, rules.binds);
  if (folder != nullptr && !folder->problem.empty()) co_return std::nullopt;
  const fs::path here = folder != nullptr ? folder->location / path.lexically_relative(folder->mount_point) : path;
  const auto real = co_await socket_at(here, limit);
  if (!real || is_of_the_engine(*real, rules.binds)) co_return std::nullopt;
  if (is_below(*real, rules.own))
    refuse(path.string() + " is a socket of colima-like itself", "who has it has the machine, and more",
           "for Docker in a container mount /var/run/docker.sock");
  SocketBind bind;
  bind.source = std::move(source);
  bind.host = *real;
  if (const SharedFolder* const shown = showing(*real, folder, rules.binds); shown != nullptr) {
    bind.in_share = true;
    bind.guest = (shown->mount_point / real->lexically_relative(shown->location)).string();
  } else if (*real == rules.agent) {
    bind.host.clear();
    bind.guest = (folder != nullptr ? *real : path).string();
  } else if (folder != nullptr) {
    co_return std::nullopt;  // a link out of every share
  } else {
    bind.guest = path.string();
    bind.foreign = true;
  }
  co_return bind;
}

fs::path shared_root(const fs::path& path, const std::vector<SharedFolder>& shared) {
  const fs::path* outermost = nullptr;
  for (const SharedFolder& folder : shared)
    if (is_below(path, folder.location) && (outermost == nullptr || is_below(*outermost, folder.location)))
      outermost = &folder.location;
  return outermost != nullptr ? *outermost : fs::path();
}

}  // namespace cl
