#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "src/base/async.hpp"
#include "src/base/host.hpp"
#include "vm/image/image.hpp"

namespace cl {

/// Why images of `arch` ("aarch64") are not built on this host; nothing when none of the usual lacks is seen. An Error
/// {host_requirement} with its remedy, as the recipe itself would fail with.
std::optional<Error> cannot_build(const std::string& arch, const HostFacts& host);

/// One run of a recipe that is unpacked at `recipe`, writing its files to `out`.
struct RecipeRun {
  std::filesystem::path recipe, out;
  std::filesystem::path scratch;  ///< for its temporary files; empty = its own choice
  std::filesystem::path log;      ///< its stderr
  ImageKey key;
  std::string mirror;
  std::chrono::milliseconds limit{0};
  int lock_fd = -1;  ///< held by the run's outermost process until everything of it is gone
  /// What an interrupted recipe may take to clean up (mounts, processes) before it is killed.
  std::chrono::milliseconds clean_up{20000};
};

/// Runs the recipe to its end. Cancelled, it ends the recipe first; and if this process is killed, the
/// recipe ends by itself. Throws the Error that explains a failure (see explain_recipe_failure).
asio::awaitable<void> run_recipe(RecipeRun run, OnPhase on_phase);

/// The Error for a recipe that ended with this code and these last messages. Pure.
Error explain_recipe_failure(int exit_code, std::string_view messages, const std::string& mirror,
                             const std::filesystem::path& log);

/// Whether it is that of a host on which this user may make no user namespaces: nothing is missing there, and images
/// are downloaded instead.
bool refuses_namespaces(const Error& error);

}  // namespace cl
