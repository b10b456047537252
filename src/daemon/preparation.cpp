#include "src/daemon/preparation.hpp"

#include <fmt/format.h>

#include <boost/uuid/random_generator.hpp>
#include <boost/uuid/uuid_io.hpp>
#include <cstdlib>

#include "docker/ports.hpp"
#include "profiles/egress.hpp"
#include "profiles/keys.hpp"
#include "profiles/networks.hpp"
#include "provision/ssh/keys.hpp"
#include "src/app/images.hpp"
#include "src/base/blocking.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "vm/disk.hpp"
#include "vm/qemu/accel.hpp"
#include "vm/seed.hpp"
#include "vm/vz/rosetta.hpp"

namespace cl {
namespace {

constexpr ByteSize root_size = ByteSize::gib(16);  // sparse; room for what users install in the guest

BootPlan::Reach reach_of(Egress::Mode mode) {
  switch (mode) {
    case Egress::Mode::open: break;
    case Egress::Mode::filtered: return BootPlan::Reach::nowhere;
    case Egress::Mode::closed: return BootPlan::Reach::no_card;
  }
  return BootPlan::Reach::everywhere;
}

/// The image that the root disk stands on, or that it will stand on.
asio::awaitable<Image> prepare_image(const Home& home, const ProfilePaths& paths, State& state, Job& job) {
  job.begin("image", "looking for the guest image");
  auto say = [&job](std::string_view text) { job.say(std::string(text)); };
  auto look = [paths] { return file_exists(paths.root_disk) || file_exists(paths.raw_root_disk); };
  const bool has_root = co_await blocking(std::move(look));
  WantedImage wanted{state.profile.image, state.arch, has_root ? state.image_digest : std::string(), false};
  Image image = co_await provide_image(home, std::move(wanted), say);
  // From now on it is that one: another, should "auto" find one later, would be another machine.
  if (state.profile.image == "auto") state.profile.image = image.source_title.empty() ? "docker" : image.source_title;
  job.end("the guest image is " + image.name);
  co_return image;
}

asio::awaitable<Accel> prepare_accel(const Home& home, const Image& image, State& state, Job& job) {
  AccelRequest request;
  request.wish = state.profile.accel;
  request.arch = state.arch;
  request.host = host_facts();
  request.kernel = image.kernel;
  request.disk = image.root;
  request.boot = image.boot;
  request.image_digest = image.digest;
  request.cache_file = home.cache / "accel.json";
  request.progress = [&job](std::string_view text) { job.begin("accel", std::string(text)); };
  const AccelChoice choice = co_await choose_accel(std::move(request));
  state.accel = to_string(choice.accel);
  state.accel_reason = choice.why;
  co_return choice.accel;
}

/// What the state knows of the data disk.
struct KnownData {
  std::string owner;
  bool ready = false;       ///< a guest has mounted it
  ByteSize size;            ///< at least
  bool made_again = false;  ///< it was never finished, and is as new
};

/// Makes sure that the data disk is there; returns what is then to be known of it. Blocks.
KnownData prepare_data(const ProfilePaths& paths, KnownData known, BootOptions options) {
  const fs::path& path = paths.data_disk;
  DataDisk data = inspect_data_disk(path);
  if (data.kind == DataDiskKind::missing && known.ready) {
    require_data(paths, known.ready, options);
    known.ready = false;  // with the same owner: the other disk may be put back later
  }
  // A machine that was killed while the guest made the file system leaves a disk without header (mke2fs clears it
  // first) and without file system, which the guest would refuse for ever. It was never mounted. That alone does not
  // tell that it is the disk we made: the user may have put another one there since.
  const bool unfinished = data.kind == DataDiskKind::foreign && !known.owner.empty() && !known.ready;
  if (unfinished && is_half_formatted(path, known.owner)) {
    known.made_again = true;
    remove_file(path);
    data = inspect_data_disk(path);
  }
  if (data.kind == DataDiskKind::foreign)
    throw Error(Errc::io, "the data disk of profile '" + paths.name + "' is not one of ours",
                "move " + path.string() + " away; it was not touched");
  // The header is the truth: state.json goes with `delete`, the data does not.
  const bool mine = data.kind == DataDiskKind::ours || data.kind == DataDiskKind::unmarked;
  if (mine && !known.owner.empty() && known.owner != data.owner)
    throw Error(Errc::io, "the data disk of profile '" + paths.name + "' belongs to another profile",
                "put the right file at " + path.string() + "; it was not touched")
        .because("its owner is " + data.owner + " and not " + known.owner);
  if (mine && known.owner.empty()) {
    known.owner = data.owner;
    known.ready = true;  // it comes from before a delete
  }
  if (known.owner.empty()) known.owner = to_string(boost::uuids::random_generator()());
  // It has grown in an earlier run and cannot shrink.
  if (mine && data.size > known.size) known.size = data.size;
  ensure_data_disk(path, known.owner, known.size);
  return known;
}

asio::awaitable<void> prepare_data(const ProfilePaths& paths, State& state, BootOptions options) {
  KnownData known;
  known.owner = state.data_owner;
  known.ready = state.data_ready;
  known.size = state.profile.disk;
  auto work = [paths, known, options] { return prepare_data(paths, known, options); };
  known = co_await blocking(std::move(work));
  if (known.made_again) log::warn("the data disk was never finished: it is made again");
  state.data_owner = known.owner;
  state.data_ready = known.ready;
  state.profile.disk = known.size;
}

asio::awaitable<void> prepare_root(const ProfilePaths& paths, const Image& image, const State& state, bool raw,
                                   Job& job) {
  const bool same_image = state.image_digest == image.digest;
  auto look = [paths, root = image.root, raw] {
    return raw ? file_exists(paths.raw_root_disk) : check_overlay(paths.root_disk, root) == OverlayState::usable;
  };
  const bool usable = co_await blocking(std::move(look));
  if (usable && same_image) co_return;
  auto measure = [root = image.root] {
    std::error_code failure;
    const std::uintmax_t bytes = fs::file_size(root, failure);
    if (failure) throw file_error("look at", root, failure.value());
    return bytes;
  };
  const ByteSize size = std::max(root_size, ByteSize::bytes(co_await blocking(std::move(measure))));
  job.begin("disk", raw ? "copying the image to the root disk" : "making the root disk");
  if (raw) {
    auto copy = [root = image.root, to = paths.raw_root_disk, size] { create_raw_root(root, to, size); };
    co_await blocking(std::move(copy));
  } else {
    co_await create_overlay(image.root, paths.root_disk, size);
  }
  job.end("the root disk is made");
}

/// A machine resumes on a disk that is full, too.
void write_if_different(const fs::path& path, const std::string& content) {
  if (read_file_if_exists(path) != content) write_atomically(path, content);
}

/// The disk from which cloud-init learns who the guest is. Written only when that changed: the machine of an earlier
/// daemon may have it open. Blocks.
void prepare_seed(const ProfilePaths& paths, const std::string& data_owner, const KeySet& keys,
                  const std::string& host_address, std::pair<int, int> ports) {
  SeedFacts facts;
  facts.instance_id = "colima-like-" + data_owner;
  facts.host_name = host_name(paths.name);
  facts.host_address = host_address;
  facts.authorized_keys = read_file(keys.authorized_keys);
  facts.host_private_key = read_file(keys.host_private_key);
  facts.host_public_key = read_file(keys.host_public_key);
  facts.data_owner = data_owner + "\n";
  facts.shares = read_file_if_exists(shares_file(paths)).value_or("");
  facts.ports = ports;
  const std::string disk = fat_disk(seed_files(facts, built_in_recipe(), cloud_guest_files()));
  write_if_different(paths.seed_disk, disk);
}

RosettaChoice choose_rosetta(const State& state, const Image& image) {
  const HostFacts host = host_facts();
  RosettaFacts facts;
  facts.driver = state.driver;
  facts.host_arch = host.arch;
  facts.guest_arch = state.arch;
  facts.macos_version = host.macos_version;
  facts.installed = rosetta_installed(host.macos_version);
  if (const auto kernel = image.versions.find("kernel_version"); kernel != image.versions.end())
    facts.guest_kernel = kernel->second;
  RosettaChoice choice = cl::choose_rosetta(state.profile.rosetta, facts);
  if (!choice.why_not.empty()) log::info("no Rosetta: {}", choice.why_not);
  if (!choice.doubt.empty()) log::info("with Rosetta, though: {}", choice.doubt);
  return choice;
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

fs::path shares_file(const ProfilePaths& paths) { return paths.keys_directory / "shares"; }

void require_data(const ProfilePaths& paths, bool had_data, BootOptions options) {
  const fs::path& path = paths.data_disk;
  if (!had_data || options.allow_new_data || file_exists(path)) return;
  std::error_code no_link;
  const fs::path target = fs::read_symlink(path, no_link);
  throw Error(Errc::not_found, "the data disk of profile '" + paths.name + "' is gone",
              "put it back, or mount the disk that it is on; 'colima-like start --new-data " + paths.name +
                  "' gives its images and volumes up, and begins with an empty one")
      .because("there is no file at " + path.string() + (no_link ? "" : ", a link to " + target.string()));
}

asio::awaitable<BootPlan> prepare_boot(const Home& home, const ProfilePaths& paths, State& state, DriverTraits driver,
                                       Job& job, BootOptions options) {
  state.arch = resolved_arch(state.profile, host_facts());
  auto make_cache = [cache = home.cache] { make_private_directory(cache); };
  co_await blocking(std::move(make_cache));
  const Image image = co_await prepare_image(home, paths, state, job);
  Accel accel = Accel::hvf;
  if (driver.always_hvf) {
    state.accel = to_string(accel);
    state.accel_reason.clear();
  } else {
    accel = co_await prepare_accel(home, image, state, job);
  }
  const RosettaChoice rosetta = choose_rosetta(state, image);
  co_await prepare_data(paths, state, options);
  co_await prepare_root(paths, image, state, driver.raw_root, job);
  state.image = image.name;
  state.image_digest = image.digest;

  const KeySet keys = co_await ensure_keys(paths.keys_directory);
  const auto owner_file = paths.keys_directory / "data_owner";
  const auto host_name_file = paths.keys_directory / "host_name";
  auto write = [owner_file, host_name_file, owner = state.data_owner, name = host_name(paths.name)] {
    write_if_different(owner_file, owner + "\n");
    write_if_different(host_name_file, name);
  };
  co_await blocking(std::move(write));

  BootPlan plan;
  plan.name = host_name(paths.name);
  plan.arch = state.arch;
  plan.accel = accel;
  plan.cpus = state.profile.cpus;
  plan.nested = state.profile.nested;
  plan.memory = state.profile.memory;
  plan.network = state.profile.guest_subnet;
  plan.reach = reach_of(egress_of(state.profile).mode);
  plan.boot = image.boot;
  plan.kernel = image.kernel;
  plan.initrd = image.initrd;
  // The near end of the guest's own connections: the fewer they are, the sooner they have to be used again.
  const auto ports = ephemeral_ports(paths.name, platform::connection_ports());
  if (image.seed == "cloud-init") {
    auto make_seed = [paths, owner = state.data_owner, keys,
                      address = host_in_guest(driver.host_address, state.profile),
                      ports] { prepare_seed(paths, owner, keys, address, ports); };
    co_await blocking(std::move(make_seed));
    plan.seed_disk = paths.seed_disk;
  } else {
    // Its own for ever, like the data: without one the first boot of each root disk would make another.
    std::string machine_id = state.data_owner;
    std::erase(machine_id, '-');
    plan.kernel_arguments = image.kernel_arguments + " systemd.machine_id=" + machine_id;
    plan.kernel_arguments += fmt::format(
        R"( sysctl.net.ipv4.ip_local_port_range="{} {}" sysctl.net.ipv4.tcp_tw_reuse=1)", ports.first, ports.second);
    plan.credentials = {{"colima-like.hostkey", keys.host_private_key},
                        {"colima-like.authorized_keys", keys.authorized_keys},
                        {"colima-like.data", owner_file},
                        {"system.hostname", host_name_file}};
  }
  plan.root_disk = driver.raw_root ? paths.raw_root_disk : paths.root_disk;
  plan.data_disk = paths.data_disk;
  plan.rosetta = rosetta.use;
  state.rosetta = rosetta.use;
  state.rosetta_why_not = rosetta.why_not;
  // Tests rehearse Rosetta with a stand-in: the folder named here.
  const char* stand_in = std::getenv("COLIMA_LIKE_ROSETTA_SHARE");
  if (stand_in != nullptr && state.profile.rosetta != RosettaWish::off) {
    state.rosetta = true;
    plan.shares.push_back({"rosetta", stand_in, true});
  }
  plan.run_directory = paths.run_directory;
  plan.console_log = paths.console_log;
  plan.driver_log = driver.raw_root ? paths.log_directory / "vfkit.log" : paths.driver_log;
  co_return plan;
}

}  // namespace cl
