#include "vm/qemu/command_line.hpp"

#include <fmt/format.h>

#include <set>

#include "src/base/net/subnet.hpp"
#include "src/base/platform.hpp"
#include "vm/qemu/binary.hpp"

namespace cl {
namespace fs = std::filesystem;
namespace {

/// Appends to argv: add("-m", "2048M").
class Words {
 public:
  template <class... Text>
  void add(Text&&... words) {
    (list_.emplace_back(std::forward<Text>(words)), ...);
  }
  std::vector<std::string> take() { return std::move(list_); }

 private:
  std::vector<std::string> list_;
};

std::string path_value(const fs::path& path) { return escape_option(path.native()); }

void add_machine(Words& words, const BootPlan& plan, const QemuHost& host) {
  const bool x86 = plan.arch == "x86_64";
  std::string machine = host.machine_type;
  if (machine.empty()) machine = x86 ? "q35" : "virt";
  // No devices that a server guest has no use for: each costs probing at boot. Without dump-guest-core a crash of
  // QEMU does not write the guest's memory to a file.
  machine += x86 ? ",vmport=off,hpet=off,i8042=off,sata=off,smbus=off,usb=off" : ",gic-version=max";
  machine += ",dump-guest-core=off,mem-merge=off";
  // The servers of shares read and write in the guest's memory.
  if (!plan.shares.empty()) machine += ",memory-backend=memory";
  if (x86 && plan.boot == "efi") machine += ",pflash0=firmware";
  if (!x86 && plan.nested) machine += ",virtualization=on";
  words.add("-machine", machine);
  // Both CPU models have it by themselves; who does not ask for it has that much less of the host's KVM in reach.
  const std::string features = x86 && !plan.nested ? ",vmx=off,svm=off" : "";

  switch (plan.accel) {
    case Accel::tcg:
      // 512 MiB of translated code: with the default the cache is flushed over and over while a guest boots.
      // Pointer authentication by its own cipher takes an emulator a third of its time; any other is as good there. And
      // a copy by "rep movsb" goes byte by byte: a guest that does not see these takes words, in a quarter of the time.
      words.add("-accel", "tcg,thread=multi,tb-size=512", "-cpu",
                x86 ? "max,-erms,-fsrm" + features : "max,pauth-impdef=on");
      break;
    case Accel::kvm: words.add("-accel", "kvm", "-cpu", "host" + features); break;
    case Accel::hvf: words.add("-accel", "hvf", "-cpu", "host"); break;
  }
  words.add("-smp", fmt::format("{0},sockets=1,cores={0},threads=1", plan.cpus));
  words.add("-m", fmt::format("{}M", plan.memory.whole_mib()));
  // Sleep states of the guest's own would be nobody's to wake.
  if (x86) words.add("-global", "ICH9-LPC.disable_s3=1", "-global", "ICH9-LPC.disable_s4=1");
  words.add("-action", "reboot=shutdown");  // until Machine::allow_reboot()
  // Booted without firmware, an ARM machine has no ACPI, and Debian's kernel knows no other power button than ACPI's;
  // so there is a keyboard with a power key (QemuMachine::power_off).
  if (!x86) words.add("-device", "virtio-keyboard-pci");
  // Tells the guest that it was restored from a copy, so that it reseeds its random numbers. ACPI on PCs only.
  if (x86) words.add("-device", "vmgenid,guid=auto");
}

/// The disk's own loader: SeaBIOS is QEMU's default on PCs and needs no file, EFI is firmware of the host's. It keeps
/// no variables: what it has to start is found by its name on the disk.
void add_firmware(Words& words, const BootPlan& plan, const QemuHost& host) {
  if (plan.boot == "bios") return;
  if (plan.arch == "aarch64") {
    words.add("-bios", host.firmware.string());
    return;
  }
  words.add("-blockdev", "driver=file,node-name=firmware-file,read-only=on,filename=" + path_value(host.firmware));
  words.add("-blockdev", "driver=raw,node-name=firmware,file=firmware-file,read-only=on");
}

void add_kernel(Words& words, const BootPlan& plan) {
  words.add("-kernel", plan.kernel.string());
  if (!plan.initrd.empty()) words.add("-initrd", plan.initrd.string());
  std::string arguments = plan.kernel_arguments;
  if (!arguments.empty()) arguments += ' ';
  arguments += plan.arch == "x86_64" ? "console=ttyS0" : "console=ttyAMA0";
  // An emulated CPU leaks nothing by speculation, and its fourth page table level is enough: both cost time only.
  // The timer check waits for ticks that a loaded host may deliver too late, and then panics ("IO-APIC + timer
  // doesn't work!").
  if (plan.accel == Accel::tcg)
    arguments += plan.arch == "x86_64" ? " mitigations=off no5lvl no_timer_check" : " mitigations=off";
  words.add("-append", arguments);
}

/// Where the guest, the host and the name server are is told, and not left to rules that differ with the prefix.
std::string user_network(const BootPlan& plan) {
  const BootPlan usual;
  const std::string begin = plan.reach == BootPlan::Reach::nowhere ? "user,id=net,restrict=on" : "user,id=net";
  const auto network = Subnet::parse(plan.network);
  if (plan.network == usual.network || !network) return begin;
  return begin + fmt::format(",net={},host={},dns={},dhcpstart={}", network->str(), network->at(2), network->at(3),
                             network->at(15));
}

void add_disks(Words& words, const BootPlan& plan) {
  // Formats are always told: a guest that writes a qcow2 header into its raw disk must not get a host file opened.
  // Writes go through the host's page cache; the guest's flushes reach the disk.
  words.add("-object", "iothread,id=disks");
  words.add("-blockdev", "driver=file,node-name=root-file,discard=unmap,filename=" + path_value(plan.root_disk));
  words.add("-blockdev", "driver=qcow2,node-name=root,file=root-file,discard=unmap,detect-zeroes=unmap");
  const std::string_view first = plan.boot == "direct" ? "" : ",bootindex=0";
  words.add("-device", fmt::format("virtio-blk-pci,drive=root,iothread=disks,serial=colima-like-root{}", first));
  if (plan.data_disk.empty()) return;
  words.add("-blockdev", "driver=file,node-name=data-file,discard=unmap,filename=" + path_value(plan.data_disk));
  words.add("-blockdev", "driver=raw,node-name=data,file=data-file,discard=unmap,detect-zeroes=unmap");
  words.add("-device", "virtio-blk-pci,drive=data,iothread=disks,serial=colima-like-data");
  if (plan.seed_disk.empty()) return;
  words.add("-blockdev", "driver=file,node-name=seed-file,read-only=on,filename=" + path_value(plan.seed_disk));
  words.add("-blockdev", "driver=raw,node-name=seed,file=seed-file,read-only=on");
  words.add("-device", "virtio-blk-pci,drive=seed,serial=colima-like-seed");
}

void add_channels(Words& words, const BootPlan& plan) {
  // Port 0 of a virtio-serial device is kept for a console.
  words.add("-device",
            fmt::format("virtio-serial-pci,id=channels,max_ports={}", 2 * (ssh_port_count + share_port_count) + 3));
  int number = 0;  // of the virtio port before
  auto add = [&](const std::string& id, const std::string& name, const fs::path& socket) {
    words.add("-chardev", fmt::format("socket,id={},path={},server=on,wait=off", id, path_value(socket)));
    words.add("-device",
              fmt::format("virtserialport,bus=channels.0,nr={},chardev={},name=colima-like.{}", ++number, id, name));
  };
  auto add_pair = [&](const std::string& id, const std::string& name, const SshPort& pair) {
    add(id + "-in", name + ".in", pair.to_guest);
    add(id + "-out", name + ".out", pair.from_guest);
  };
  int server = 0;
  // A port for each direction. When one process polls a port by two descriptors (sshd does, for its input and its
  // output), Linux may forget to wake it: bytes that come between the looks at the two are taken from the ring by the
  // second look, which reports them to nobody, and the interrupt then finds the ring empty (virtio_console's
  // port_fops_poll() and vring_interrupt()). Seen once in some 300 requests, each of which then stood still for ever.
  for (const SshPort& port : ssh_ports(plan.run_directory)) {
    add_pair(fmt::format("ssh{}", server), fmt::format("ssh.{}", server), port);
    ++server;
  }
  add_pair("data", "data", data_port(plan.run_directory));
  int share = 0;
  for (const SshPort& port : share_ports(plan.run_directory)) {
    add_pair(fmt::format("fs{}", share), fmt::format("share.{}", share), port);
    ++share;
  }
  words.add("-chardev", fmt::format("file,id=console,append=on,path={}", path_value(plan.console_log)), "-serial",
            "chardev:console");
  words.add("-chardev",
            fmt::format("socket,id=qmp,path={},server=on,wait=off", path_value(qmp_socket(plan.run_directory))), "-mon",
            "chardev=qmp,mode=control");
}

void add_shares(Words& words, const BootPlan& plan, int memory) {
  if (plan.shares.empty()) return;
  // Not memory-backend-memfd: only memory with a file's name may be left out of what QEMU saves (x-ignore-shared).
  words.add("-object", fmt::format("memory-backend-file,id=memory,size={}M,mem-path=/proc/self/fd/{},share=on",
                                   plan.memory.whole_mib(), memory));
  for (const BootShare& share : plan.shares) {
    words.add("-chardev",
              fmt::format("socket,id={},path={}", share.tag, path_value(share_socket(plan.run_directory, share.tag))));
    words.add("-device", fmt::format("vhost-user-fs-pci,chardev={0},tag={0},queue-size=1024", share.tag));
  }
}

std::vector<SshPort> pairs_of(const fs::path& run_directory, std::string_view name, int count) {
  std::vector<SshPort> pairs;
  for (int i = 0; i < count; ++i)
    pairs.push_back(
        {run_directory / fmt::format("{}{}-in.sock", name, i), run_directory / fmt::format("{}{}-out.sock", name, i)});
  return pairs;
}

void add_credentials(Words& words, const BootPlan& plan) {
  constexpr std::string_view folder = "opt/io.systemd.credentials/";
  constexpr std::size_t longest = 55;  // FW_CFG_MAX_FILE_PATH less its NUL
  for (const Credential& credential : plan.credentials) {
    const std::string name = std::string(folder) + credential.name;
    if (name.size() > longest || credential.name.find_first_of(",/") != std::string::npos)
      throw Error(Errc::invalid_config, "'" + credential.name + "' cannot be the name of a credential");
    words.add("-fw_cfg", "name=" + name + ",file=" + path_value(credential.file));
  }
}

void check_shares(const BootPlan& plan) {
  constexpr std::size_t longest = 36;  // of a tag, in the device's configuration space
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyz0123456789-";
  std::set<std::string> tags;
  for (const BootShare& share : plan.shares) {
    const bool sound = !share.tag.empty() && share.tag.size() <= longest && share.tag[0] >= 'a' &&
                       share.tag.find_first_not_of(allowed) == std::string::npos;
    if (!sound || !tags.insert(share.tag).second)
      throw Error(Errc::invalid_config, "'" + share.tag + "' cannot be the tag of a share");
    if (const fs::path socket = share_socket(plan.run_directory, share.tag);
        socket.native().size() > platform::max_socket_path())
      throw Error(Errc::invalid_config, "the path " + socket.string() + " is too long for a unix socket",
                  "use a shorter profile name or a shorter COLIMA_LIKE_HOME");
  }
}

void check(const BootPlan& plan) {
  if (plan.arch != "x86_64" && plan.arch != "aarch64")
    throw Error(Errc::invalid_config, "QEMU machines of architecture '" + plan.arch + "' are not supported",
                "use x86_64 or aarch64");
  const fs::path longest = data_port(plan.run_directory).from_guest;
  if (longest.native().size() > platform::max_socket_path())
    throw Error(Errc::invalid_config,
                fmt::format("the path {} is too long for a unix socket, which may have {} bytes", longest.string(),
                            platform::max_socket_path()),
                "use a shorter profile name or a shorter COLIMA_LIKE_HOME");
  check_shares(plan);
}

}  // namespace

fs::path share_socket(const fs::path& run_directory, std::string_view tag) {
  return run_directory / (std::string(tag) + ".sock");
}

fs::path share_lock(const fs::path& run_directory, std::string_view tag) {
  return run_directory / (std::string(tag) + ".lock");
}

fs::path qmp_socket(const fs::path& run_directory) { return run_directory / "qmp.sock"; }

std::vector<SshPort> ssh_ports(const fs::path& run_directory) { return pairs_of(run_directory, "ssh", ssh_port_count); }

std::vector<SshPort> share_ports(const fs::path& run_directory) {
  return pairs_of(run_directory, "fs", share_port_count);
}

SshPort data_port(const fs::path& run_directory) {
  return {run_directory / "data-in.sock", run_directory / "data-out.sock"};
}

std::string escape_option(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    escaped += c;
    if (c == ',') escaped += ',';
  }
  return escaped;
}

std::vector<std::string> qemu_command_line(const BootPlan& plan, const QemuHost& host) {
  check(plan);
  Words words;
  words.add(host.binary.string());
  words.add("-name", "guest=" + escape_option(plan.name) + ",debug-threads=on");
  words.add("-nodefaults", "-no-user-config", "-display", "none", "-msg", "timestamp=on");
  if (host.sandbox) words.add("-sandbox", std::string(sandbox_option));
  add_machine(words, plan, host);
  if (plan.boot == "direct")
    add_kernel(words, plan);
  else
    add_firmware(words, plan, host);
  add_disks(words, plan);
  words.add("-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy");
  // Pages that the guest frees go back to the host by themselves.
  words.add("-device", "virtio-balloon-pci,free-page-reporting=on");
  // No boot ROM: nothing boots from the network, and not every distribution installs it.
  if (plan.reach == BootPlan::Reach::no_card) {
    words.add("-nic", "none");
  } else {
    words.add("-netdev", user_network(plan), "-device",
              "virtio-net-pci,netdev=net,romfile=,mac=" + mac_address(plan.name));
  }
  add_channels(words, plan);
  add_shares(words, plan, host.memory);
  add_credentials(words, plan);
  if (plan.incoming) words.add("-incoming", "defer");
  return words.take();
}

}  // namespace cl
