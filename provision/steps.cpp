#include "provision/steps.hpp"

#include <array>

#include "src/base/file.hpp"
#include "src/base/shell.hpp"

namespace cl {

extern const std::string_view provision_script;

namespace {

struct Step {
  std::string_view name, doing, failed, remedy;
};

constexpr std::array steps{
    Step{"data", "mounting the data disk", "the data disk could not be mounted",
         "nothing was formatted. If the disk is not needed any more, 'colima-like delete --data' removes it"},
    Step{"docker-install", "installing Docker in the guest", "Docker could not be installed in the guest",
         "see whether this host reaches the Debian mirror, and start again"},
    Step{"tools-install", "installing sshfs, dnsmasq and qemu-user in the guest",
         "sshfs, dnsmasq and qemu-user could not be installed in the guest",
         "see whether this host reaches the distribution's mirror, and start again"},
    Step{"settings", "applying the profile's settings", "the profile's settings could not be applied in the guest",
         "see 'colima-like config show --effective', and start again"},
    Step{"provision-after-boot", "running the profile's scripts", "a script of the profile failed",
         "correct it: colima-like config edit"},
    Step{"provision-ready", "running the profile's scripts", "a script of the profile failed",
         "correct it: colima-like config edit"},
    Step{"runtime", "switching the runtime", "the guest could not be switched to the runtime",
         "colima-like restart; 'colima-like config set runtime docker' goes back"},
    Step{"podman-install", "installing Podman in the guest", "Podman could not be installed in the guest",
         "see whether this host reaches the Debian mirror, and start again"},
    Step{"podman-start", "starting Podman", "Podman failed to start in the guest",
         "the machine was ended again; its console is shown by: colima-like logs --console"},
    Step{"containerd-install", "installing containerd in the guest", "containerd could not be installed in the guest",
         "see whether this host reaches the Debian mirror, and start again"},
    Step{"containerd-start", "starting containerd", "containerd failed to start in the guest",
         "the machine was ended again; its console is shown by: colima-like logs --console"},
    Step{"buildkit-start", "opening BuildKit's socket", "BuildKit's socket could not be opened in the guest",
         "the machine was ended again; its console is shown by: colima-like logs --console"},
    Step{"platforms", "trying programs of other architectures",
         "it could not be found out which programs of other architectures run", "colima-like restart"},
    Step{"socket-link", "linking the engine's socket", "the link to the engine's socket could not be made",
         "colima-like restart"},
    Step{"docker-start", "starting Docker", "Docker failed to start in the guest",
         "the machine was ended again; its console is shown by: colima-like logs --console"},
};

const Step* find_step(std::string_view name) {
  for (const Step& step : steps)
    if (step.name == name) return &step;
  return nullptr;
}

constexpr std::size_t kept_lines = 15;
constexpr std::size_t most_told = 64;     // steps, and platforms: there are fewer of each
constexpr std::size_t longest_name = 64;  // of a step

/// The script's words come from the guest, which may be another's by now.
void limit(std::size_t count) {
  if (count >= most_told)
    throw Error(Errc::guest_failed, "the guest tells of its set-up without end", "colima-like restart");
}

}  // namespace

std::string StepReader::line(std::string_view text) {
  if (text.starts_with("@step ")) {
    current_ = text.substr(6, longest_name);
    output_.clear();
    return {};
  }
  if (text.starts_with("@doing ")) {
    const Step* step = find_step(current_);
    return std::string(step != nullptr ? step->doing : current_);
  }
  if (text.starts_with("@done ")) {
    limit(finished_.size());
    finished_.push_back({current_, text.ends_with(" changed")});
    current_.clear();
    return {};
  }
  if (PlatformState platform; read_platform(text, platform)) {
    limit(platforms_.size());
    platforms_.push_back(std::move(platform));
    return {};
  }
  output_ += text;
  output_ += '\n';
  if (output_.size() > 64 * 1024) output_.erase(0, output_.size() / 2);
  return {};
}

Error StepReader::failure(int exit_code, std::string_view errors) const {
  const Step* step = find_step(current_);
  const std::string what = step != nullptr ? std::string(step->failed) : "the guest could not be set up";
  std::string lines = last_lines(output_ + std::string(errors), kept_lines);
  if (lines.empty()) lines = "the set-up script ended with exit code " + std::to_string(exit_code);
  return Error(Errc::guest_failed, what, step != nullptr ? std::string(step->remedy) : "colima-like restart")
      .because(lines);
}

asio::awaitable<Provisioned> provision(Guest& guest, ProvisionPlan plan,
                                       std::function<void(std::string_view)> on_step) {
  StepReader reader;
  auto on_line = [&](std::string_view text) {
    const std::string doing = reader.line(text);
    if (!doing.empty() && on_step) on_step(doing);
  };
  std::string script = "data_owner=" + shell_quoted(plan.data_owner) + "\nruntime=" + shell_quoted(plan.runtime) +
                       "\nhost_socket=" + shell_quoted(plan.host_socket) + "\n" + settings_script(plan.files) +
                       own_scripts(plan.scripts) + platforms_script(plan.platforms) + std::string(provision_script);
  GuestResult result = co_await run_in_guest(guest, "sh -s", std::move(script), on_line);
  if (result.exit_code != 0) throw reader.failure(result.exit_code, result.errors);
  Provisioned done{reader.finished(), reader.platforms()};
  co_return done;
}

}  // namespace cl
