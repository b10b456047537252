#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace cl {

/// What a container may mount from outside.
struct BindRules {
  std::vector<std::filesystem::path> shared;  ///< folders of the host that the guest sees at the same path
  std::filesystem::path socket;               ///< the engine's socket on the host; the guest has a link there
};

/// Looks at the body of a container's create call. A bind mount (-v, --mount, compose) of a host folder that the guest
/// does not see would be an empty folder in the container: Error{invalid_config} that names the path and the share to
/// add. Paths that belong to the guest's own system (/etc, /proc, /var ...), and volumes, are fine, and what is not
/// understood is the engine's matter.
void check_binds(std::string_view body, const BindRules& rules);

}  // namespace cl
