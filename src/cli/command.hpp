#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/paths.hpp"
#include "profiles/store.hpp"
#include "src/base/async.hpp"
#include "src/rpc/message.hpp"

namespace cl::cli {

/// What verbs need that the CLI's own boxes cannot do; main.cpp provides it.
class Backend {
 public:
  using OnProgress = std::function<void(const rpc::Progress&)>;
  virtual ~Backend() = default;
  /// Builds (or finds) an image: {"name", "path", "built"}.
  virtual asio::awaitable<boost::json::object> build_image(std::string variant, std::string arch, OnProgress) = 0;
  /// One object per cached image: name, digest, bytes, created, in_use, and problem when it is not usable.
  virtual boost::json::array list_images() = 0;
  /// Removes images that no profile stands on: {"removed": [names], "freed_bytes"}.
  virtual boost::json::object prune_images() = 0;
};

/// A parsed command line: what a verb's function gets.
struct Invocation {
  Home home;
  Backend* backend = nullptr;
  std::string profile = "default";
  Settings settings;                 ///< of `start`, by key name
  std::vector<std::string> command;  ///< of `ssh`
  bool json = false;
  bool force = false;
  bool data = false;
  bool follow = false;
  bool console = false;
  bool daemon = false;
  int lines = 50;
};

/// Options a verb may take; each is defined once, in table.cpp.
enum Option : unsigned {
  profile_option = 1U << 0U,
  profile_argument = 1U << 1U,
  settings_options = 1U << 2U,
  json_option = 1U << 3U,
  force_option = 1U << 4U,
  data_option = 1U << 5U,
  log_options = 1U << 6U,
  command_argument = 1U << 7U,
  image_options = 1U << 8U
};

/// One verb. Help, dispatch and "did you mean" read the same table.
struct Verb {
  std::string_view name;  ///< "start", or "image build" for a verb below a group
  std::string_view summary;
  unsigned options;
  int (*run)(const Invocation&);  ///< returns the process exit code; throws Error
};
std::span<const Verb> verbs();

/// Parses and runs a whole command line; prints errors. Returns the process exit code.
int run(int argc, char** argv, Backend& backend);

// The verbs, one file each.
int run_start(const Invocation&);
int run_stop(const Invocation&);
int run_restart(const Invocation&);
int run_status(const Invocation&);
int run_list(const Invocation&);
int run_delete(const Invocation&);
int run_ssh(const Invocation&);
int run_logs(const Invocation&);
int run_version(const Invocation&);
int run_image_build(const Invocation&);
int run_image_list(const Invocation&);
int run_image_prune(const Invocation&);

}  // namespace cl::cli
