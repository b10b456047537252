#include "src/daemon/preparation.hpp"

#include <fmt/format.h>

#include <boost/uuid/random_generator.hpp>
#include <boost/uuid/uuid_io.hpp>
#include <cstdlib>

#include "docker/ports.hpp"
#include "profiles/keys.hpp"
#include "provision/ssh/keys.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "src/daemon/images.hpp"
#include "vm/accel.hpp"
#include "vm/disk.hpp"

namespace cl {
namespace {

constexpr ByteSize root_size = ByteSize::gib(16);  // sparse; room for what users install in the guest

AccelWish wish_of(const std::string& accel) {
  if (accel == "kvm") return AccelWish::kvm;
  if (accel == "hvf") return AccelWish::hvf;
  return accel == "tcg" ? AccelWish::tcg : AccelWish::automatic;
}

/// The image that the root disk stands on, or that it will stand on.
asio::awaitable<Image> prepare_image(const Home& home, const State& state, Job& job) {
  job.begin("image", "looking for the guest image");
  ImageCache cache = image_cache(home);
  const ImageKey key = image_key(state.profile.image, state.arch);
  std::optional<Image> image = co_await cache.find(key);
  if (!image) {
    auto say = [&job](std::string_view text) { job.say(fmt::format("building the guest image: {}", text)); };
    BuildOptions options;
    image = co_await cache.build(key, std::move(options), say);
  }
  job.end("the guest image is " + image->name);
  co_return std::move(*image);
}

asio::awaitable<Accel> prepare_accel(const Home& home, const Image& image, State& state, Job& job) {
  AccelRequest request;
  request.wish = wish_of(state.profile.accel);
  request.arch = state.arch;
  request.host = host_facts();
  request.kernel = image.kernel;
  request.image_digest = image.digest;
  request.cache_file = home.cache / "accel.json";
  request.progress = [&job](std::string_view text) { job.begin("accel", std::string(text)); };
  const AccelChoice choice = co_await choose_accel(std::move(request));
  state.accel = to_string(choice.accel);
  state.accel_reason = choice.why;
  co_return choice.accel;
}

asio::awaitable<void> prepare_disks(const ProfilePaths& paths, const Image& image, State& state, Job& job) {
  DataDisk data = inspect_data_disk(paths.data_disk);
  // A machine that was killed while the guest made the file system leaves a disk without header (mke2fs clears it
  // first) and without file system, which the guest would refuse for ever. We made it and it was never mounted.
  const bool half_made = data.kind == DataDiskKind::foreign && !data.formatted;
  if (half_made && !state.data_owner.empty() && !state.data_ready) {
    log::warn("the data disk was never finished: making it again");
    fs::remove(paths.data_disk);
    data = inspect_data_disk(paths.data_disk);
  }
  if (data.kind == DataDiskKind::foreign)
    throw Error(Errc::io, "the data disk of profile '" + paths.name + "' is not one of ours",
                "move " + paths.data_disk.string() + " away; it was not touched");
  // The header is the truth: state.json goes with `delete`, the data does not.
  const bool mine = data.kind == DataDiskKind::ours || data.kind == DataDiskKind::unmarked;
  if (mine && !state.data_owner.empty() && state.data_owner != data.owner)
    throw Error(Errc::io, "the data disk of profile '" + paths.name + "' belongs to another profile",
                "put the right file at " + paths.data_disk.string() + "; it was not touched")
        .because("its owner is " + data.owner + " and not " + state.data_owner);
  if (mine && state.data_owner.empty()) {
    state.data_owner = data.owner;
    state.data_ready = true;  // it comes from before a delete
  }
  if (state.data_owner.empty()) state.data_owner = to_string(boost::uuids::random_generator()());
  // It has grown in an earlier run and cannot shrink.
  if (mine && data.size > state.profile.disk) state.profile.disk = data.size;
  ensure_data_disk(paths.data_disk, state.data_owner, state.profile.disk);

  const bool same_image = state.image_digest == image.digest;
  if (check_overlay(paths.root_disk, image.root) == OverlayState::usable && same_image) co_return;
  job.begin("disk", "making the root disk");
  co_await create_overlay(image.root, paths.root_disk, root_size);
  job.end("the root disk is made");
}

}  // namespace

asio::awaitable<SshLogin> prepare_login(const ProfilePaths& paths) {
  const KeySet keys = co_await ensure_keys(paths.keys_directory);
  SshLogin login;
  login.user = "root";
  login.private_key = keys.private_key;
  login.host_key = keys.host_key;
  co_return login;
}

asio::awaitable<BootPlan> prepare_boot(const Home& home, const ProfilePaths& paths, State& state, Job& job) {
  state.arch = resolved_arch(state.profile, host_facts());
  make_private_directory(home.cache);
  const Image image = co_await prepare_image(home, state, job);
  const Accel accel = co_await prepare_accel(home, image, state, job);
  co_await prepare_disks(paths, image, state, job);
  state.image = image.name;
  state.image_digest = image.digest;

  // Tests rehearse Rosetta with a stand-in: the folder named here.
  const char* stand_in = std::getenv("COLIMA_LIKE_ROSETTA_SHARE");
  state.rosetta = stand_in != nullptr && state.profile.rosetta != "off";

  const KeySet keys = co_await ensure_keys(paths.keys_directory);
  const auto owner_file = paths.keys_directory / "data_owner";
  const auto host_name_file = paths.keys_directory / "host_name";
  write_atomically(owner_file, state.data_owner + "\n");
  write_atomically(host_name_file, host_name(paths.name));

  BootPlan plan;
  plan.name = host_name(paths.name);
  plan.arch = state.arch;
  plan.accel = accel;
  plan.cpus = state.profile.cpus;
  plan.nested = state.profile.nested;
  plan.memory = state.profile.memory;
  plan.kernel = image.kernel;
  plan.initrd = image.initrd;
  // Its own for ever, like the data: without one the first boot of each root disk would make another.
  std::string machine_id = state.data_owner;
  std::erase(machine_id, '-');
  plan.kernel_arguments = image.kernel_arguments + " systemd.machine_id=" + machine_id;
  // Also the near end of the guest's own connections: the fewer they are, the sooner they have to be used again.
  const auto [first_port, last_port] = ephemeral_ports(paths.name, platform::connection_ports());
  plan.kernel_arguments += fmt::format(R"( sysctl.net.ipv4.ip_local_port_range="{} {}" sysctl.net.ipv4.tcp_tw_reuse=1)",
                                       first_port, last_port);
  plan.root_disk = paths.root_disk;
  plan.data_disk = paths.data_disk;
  plan.credentials = {{"colima-like.hostkey", keys.host_private_key},
                      {"colima-like.authorized_keys", keys.authorized_keys},
                      {"colima-like.data", owner_file},
                      {"system.hostname", host_name_file}};
  plan.run_directory = paths.run_directory;
  plan.console_log = paths.console_log;
  plan.driver_log = paths.driver_log;
  co_return plan;
}

}  // namespace cl
