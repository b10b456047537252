#include "docker/api.hpp"
#include "profiles/runtime.hpp"
#include "src/base/file.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/host_link.hpp"
#include "src/daemon/preparation.hpp"
#include "src/daemon/ssh_link.hpp"
#include "src/daemon/tools.hpp"

namespace cl {
namespace {

asio::awaitable<std::string> ask_runtime_version(Guest& guest, const Runtime& runtime) {
  if (runtime.speaks_docker) {
    std::string path(runtime.guest_socket);
    const auto stream = co_await guest.open_unix(std::move(path));
    const docker::Version version = co_await docker::version(*stream);
    co_return version.version;
  }
  // "containerd github.com/containerd/containerd 1.7.24 ..."
  const GuestResult said = co_await run_in_guest(guest, "set -- $(containerd --version) && echo \"$3\"", "");
  if (said.exit_code != 0)
    throw Error(Errc::guest_failed, "containerd does not answer in the guest", "colima-like restart")
        .because(said.errors);
  co_return last_lines(said.output, 1);
}

asio::awaitable<BootPlan> plan(const Home& home, const ProfilePaths& paths, StateStore& store, DriverTraits driver,
                               Job& job, BootOptions options) {
  BootPlan made = co_await prepare_boot(home, paths, store.edit(), std::move(driver), job, options);
  store.edit();  // with all that was chosen since
  co_return made;
}

std::shared_ptr<GuestLink> start_link(asio::any_io_executor executor, GuestLink::Config config) {
  if (config.remote.empty()) return SshLink::start(std::move(executor), std::move(config));
  return HostLink::start(std::move(executor), std::move(config));
}

}  // namespace

Parts make_parts() {
  Parts parts;
  parts.driver = &make_driver;
  parts.link = &start_link;
  parts.login = &prepare_login;
  parts.plan = &plan;
  parts.provision = &provision;
  parts.tools = &bring_tools;
  parts.runtime_version = &ask_runtime_version;
  parts.networks = &host_networks;
  return parts;
}

}  // namespace cl
