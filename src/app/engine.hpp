#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "profiles/paths.hpp"
#include "src/base/async.hpp"

/// What the engine of a running machine says, asked by its socket on this host, as any docker client would. All throw
/// Error{guest_failed} when it does not answer. Whoever asks wakes a suspended machine.
namespace cl {

/// What a kind of thing takes of the machine's disk.
struct DiskUse {
  std::string what;  ///< "images", "containers", "volumes" or "build cache"
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;
  std::uint64_t reclaimable = 0;  ///< bytes that `docker system prune` and its kin would free
  bool operator==(const DiskUse&) const = default;
};

/// The answer to GET /system/df in docker's own terms: shared layers count once. What is missing or of another type
/// counts as nothing. Pure.
std::vector<DiskUse> disk_use_of(const boost::json::object& answer);

/// The same of the engine behind this socket.
asio::awaitable<std::vector<DiskUse>> engine_disk_use(std::filesystem::path socket);

/// What a name means to the engine, a container before an image.
struct Named {
  enum class Kind { nothing, image, stopped_container, running_container };
  Kind kind = Kind::nothing;
  std::int64_t pid = 0;  ///< in the machine, of a running container's first process
};
asio::awaitable<Named> look_up(std::filesystem::path socket, std::string name);

/// Names of the running containers by their whole id.
asio::awaitable<std::map<std::string, std::string>> container_names(std::filesystem::path socket);

}  // namespace cl
