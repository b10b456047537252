#pragma once

#include <map>
#include <string>

#include "src/base/unique_fd.hpp"

namespace cl::agent {

/// Listening unix sockets that outlive who asked for them: the session with the host and, where systemd runs the agent
/// with a store of descriptors, the agent. A container that mounts a socket has that very one, and another one at the
/// same path would be of no use to it. Who connects meanwhile waits in the system's queue.
class KeptSockets {
 public:
  static constexpr std::size_t most = 64;  ///< FileDescriptorStoreMax of the agent's unit

  /// What systemd has kept of an agent that ran before this one.
  void take_over();
  /// A descriptor of the one at `path`; none when there is none.
  UniqueFd find(const std::string& path) const;
  /// False when there are as many as there may be.
  bool add(const std::string& path, const UniqueFd& socket);
  /// It is closed, and removed from its folder.
  void forget(const std::string& path);

 private:
  std::map<std::string, UniqueFd> sockets_;
};

}  // namespace cl::agent
