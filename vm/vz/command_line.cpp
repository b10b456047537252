#include "vm/vz/command_line.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "src/base/file.hpp"
#include "src/base/platform.hpp"

namespace cl {
namespace fs = std::filesystem;
namespace {

constexpr int ssh_port = 22;

/// vfkit takes an option's text apart at every comma and knows no way around that.
std::string path_value(const fs::path& path, std::string_view what) {
  if (path.native().find(',') != std::string::npos)
    throw Error(Errc::invalid_config, fmt::format("the path of {} has a comma: {}", what, path.string()),
                what.starts_with("a share")
                    ? "share a folder without a comma in its path, or use 'vm.driver: qemu'"
                    : "set COLIMA_LIKE_HOME to a directory without a comma in its path, or use 'vm.driver: qemu'")
        .because("vfkit separates its options by commas");
  return path.string();
}

/// vfkit makes URLs of sockets' paths and file names of URLs again: a space comes out as %20, and what follows a # or a
/// ? is lost.
std::string socket_value(const fs::path& path, std::string_view what) {
  const std::string& text = path.native();
  if (text.size() > platform::max_socket_path())
    throw Error(Errc::invalid_config,
                fmt::format("the path {} is too long for a unix socket, which may have {} bytes", text,
                            platform::max_socket_path()),
                "use a shorter profile name or a shorter COLIMA_LIKE_HOME");
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("/-._~+@:").find(c) != std::string_view::npos;
  };
  if (!std::all_of(text.begin(), text.end(), plain))
    throw Error(Errc::invalid_config, fmt::format("vfkit cannot use the path of {}: {}", what, text),
                "set COLIMA_LIKE_HOME to a directory whose path has only letters of ASCII, digits and -._~+@: (no "
                "space), or use 'vm.driver: qemu'")
        .because("it writes and reads such paths as URLs");
  return text;
}

class Words {
 public:
  template <class... Text>
  void add(Text&&... words) {
    (list_.emplace_back(std::forward<Text>(words)), ...);
  }
  void device(std::string text) { add("--device", std::move(text)); }
  std::vector<std::string> take() { return std::move(list_); }

 private:
  std::vector<std::string> list_;
};

void add_boot(Words& words, const BootPlan& plan, const VfkitHost& host) {
  if (plan.kernel.empty()) {
    // With `create` vfkit makes a new store at every start, whatever its manual says, and the guest loses its boot
    // entries.
    words.add("--bootloader", "efi,variable-store=" + path_value(variable_store(plan.root_disk), "the EFI variables") +
                                  (host.make_variable_store ? ",create" : ""));
    return;
  }
  // Not --bootloader linux,...: only so may the kernel's arguments have commas and quotes.
  std::string arguments = plan.kernel_arguments;
  if (!arguments.empty()) arguments += ' ';
  arguments += "console=hvc0 colima_like.vsock";
  words.add("--kernel", plan.kernel.string());
  words.add("--initrd", plan.credentials.empty() ? plan.initrd.string() : seeded_initrd(plan.run_directory).string());
  words.add("--kernel-cmdline", arguments);
}

std::string first_bytes(const fs::path& path, std::size_t count) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(count, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(count));
  bytes.resize(static_cast<std::size_t>(file.gcount()));
  return bytes;
}

void check_disk(const fs::path& path) {
  if (path.empty()) return;
  if (!is_plain_file(path)) throw Error(Errc::io, "the disk " + path.string() + " is missing", "colima-like start");
  const std::string begin = first_bytes(path, 4);
  if (begin.empty())
    throw Error(Errc::io, "the disk " + path.string() + " is empty", "move it away; the next start makes another")
        .because("vfkit cannot use a file of 0 bytes");
  if (begin == "QFI\xfb")
    throw Error(Errc::io, "the disk " + path.string() + " is a qcow2 file",
                "convert it: qemu-img convert -O raw OLD NEW")
        .because("vfkit reads raw disks alone");
}

void check_kernel(const BootPlan& plan) {
  if (plan.kernel.empty()) return;
  if (plan.initrd.empty())
    throw Error(Errc::invalid_config, "a vz machine with a kernel of its own needs an initrd, too");
  constexpr std::size_t magic_at = 0x38;  // Linux: Documentation/arch/arm64/booting.rst
  if (plan.arch == "aarch64" && first_bytes(plan.kernel, magic_at + 4).substr(magic_at) != "ARMd")
    throw Error(Errc::io, plan.kernel.string() + " is no uncompressed kernel (Image) for aarch64",
                "colima-like image prune; the next start gets the image anew");
}

}  // namespace

fs::path vfkit_socket(const fs::path& run_directory) { return run_directory / "vfkit.sock"; }
fs::path vsock_socket(const fs::path& run_directory) { return run_directory / "vsock.sock"; }
fs::path seeded_initrd(const fs::path& run_directory) { return run_directory / "initrd"; }
fs::path variable_store(const fs::path& root_disk) { return root_disk.parent_path() / "efi.nvram"; }

std::vector<std::string> vfkit_command_line(const BootPlan& plan, const VfkitHost& host) {
  Words words;
  words.add(host.binary.string());
  words.add("--cpus", std::to_string(plan.cpus), "--memory", std::to_string(plan.memory.whole_mib()));
  words.add("--log-level", "info");
  words.add("--restful-uri", "unix://" + socket_value(vfkit_socket(plan.run_directory), "vfkit's control socket"));
  add_boot(words, plan, host);
  words.device("virtio-blk,path=" + path_value(plan.root_disk, "the root disk") + ",deviceId=colima-like-root");
  if (!plan.data_disk.empty())
    words.device("virtio-blk,path=" + path_value(plan.data_disk, "the data disk") + ",deviceId=colima-like-data");
  if (!plan.seed_disk.empty())
    words.device("virtio-blk,path=" + path_value(plan.seed_disk, "the seed disk") + ",readonly");
  words.device("virtio-net,nat,mac=" + mac_address(plan.name));
  // SSH alone goes this way: vfkit does not pass the end of one direction on, which SSH does by itself.
  words.device(fmt::format("virtio-vsock,port={},socketURL={},connect", ssh_port,
                           socket_value(vsock_socket(plan.run_directory), "the guest's socket")));
  words.device("virtio-serial,logFilePath=" + path_value(plan.console_log, "the console's log"));
  words.device("virtio-rng");
  // Read-only is the guest's business: vfkit has no such thing.
  for (const BootShare& share : plan.shares)
    words.device(fmt::format("virtio-fs,sharedDir={},mountTag={}", path_value(share.directory, "a share"), share.tag));
  if (plan.rosetta) words.device("rosetta,mountTag=rosetta");
  return words.take();
}

void check_vfkit_plan(const BootPlan& plan, const std::string& host_arch) {
  if (plan.arch != host_arch)
    throw Error(Errc::invalid_config, fmt::format("vz runs no {} machine on this {} host", plan.arch, host_arch),
                "use 'vm.driver: qemu', which emulates it, or 'arch: host' and 'docker run --platform'");
  check_kernel(plan);
  for (const fs::path& disk : {plan.root_disk, plan.data_disk, plan.seed_disk}) check_disk(disk);
  for (const BootShare& share : plan.shares)
    if (!is_folder(share.directory))
      throw Error(Errc::invalid_config, "the shared folder " + share.directory.string() + " does not exist",
                  "make it, or take it out of 'shares'");
}

}  // namespace cl
