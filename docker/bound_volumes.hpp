#pragma once

#include <boost/json/array.hpp>
#include <map>
#include <string>

#include "src/base/stream.hpp"

namespace cl {

/// Volumes that are folders of the guest by another name (`-o type=none -o o=bind -o device=FOLDER`). The engine's list
/// of containers tells their names and not those folders, which it is asked for once, as long as containers run that
/// mount them: a volume can be made anew, with other options, only while none does.
class BoundVolumes {
 public:
  /// Makes bind mounts of their folders out of such volumes in the engine's list of containers. Asks the engine only
  /// when a volume is there that was not before. Throws as docker/api.hpp does.
  asio::awaitable<void> resolve(ByteStream& engine, boost::json::array& containers);

 private:
  std::map<std::string, std::string> folders_;  ///< by name; empty: it is an ordinary volume
};

}  // namespace cl
