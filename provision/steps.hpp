#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "provision/guest.hpp"
#include "provision/platforms.hpp"
#include "provision/settings.hpp"

namespace cl {

/// What the guest must be given.
struct ProvisionPlan {
  std::string data_owner;   ///< UUID in the data disk's header
  std::string host_socket;  ///< path of the engine's socket on the host: in the guest a link to the engine's socket
  std::string runtime;      ///< profiles/runtime.hpp
  std::vector<GuestFile> files;  ///< what the profile's settings mean there
  std::vector<Script> scripts;   ///< the profile's own
  PlatformPlan platforms;
};

struct StepResult {
  std::string name;
  bool changed = false;
};

/// What was done, and what was found out by the way.
struct Provisioned {
  std::vector<StepResult> steps;
  std::vector<PlatformState> platforms;
};

/// Brings the guest into the wanted state by one script in one exec (provision/scripts/provision.sh).
/// `on_step` is told in words what is being done. Throws Error{guest_failed} that names the step, with the last
/// lines of its output and a remedy.
asio::awaitable<Provisioned> provision(Guest& guest, ProvisionPlan plan, std::function<void(std::string_view)> on_step);

/// The pure half: is told the script's stdout line by line.
class StepReader {
 public:
  /// The words for a step that has something to do, as this line says; empty for any other line. Throws
  /// Error{guest_failed} when the lines tell of more steps or platforms than there can be.
  std::string line(std::string_view text);
  const std::vector<StepResult>& finished() const { return finished_; }
  const std::vector<PlatformState>& platforms() const { return platforms_; }
  /// Why the script ended with `exit_code`, given its stderr too.
  Error failure(int exit_code, std::string_view errors) const;

 private:
  std::string current_;
  std::string output_;  ///< of the current step
  std::vector<StepResult> finished_;
  std::vector<PlatformState> platforms_;
};

}  // namespace cl
