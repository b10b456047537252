#include "vm/qemu/accel.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstring>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"
#include "vm/hash.hpp"
#include "vm/qemu/binary.hpp"
#include "vm/qemu/command_line.hpp"
#include "vm/qemu/firmware.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr std::string_view emulated = "the guest is emulated, which is several times slower";

std::string upper(Accel accel) { return accel == Accel::kvm ? "KVM" : "HVF"; }

/// A file's identity for the key; empty when it is missing.
std::string identity(const fs::path& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) return {};
#ifdef __APPLE__
  const auto mtime = facts.st_mtimespec;
#else
  const auto mtime = facts.st_mtim;
#endif
  return fmt::format("{} {} {} {}.{}", path.string(), facts.st_ino, facts.st_size, mtime.tv_sec, mtime.tv_nsec);
}

/// Mode and owner of the device: after a chmod or a new group the probe is made again.
std::string device_identity(const fs::path& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) return "missing";
  return fmt::format("{} {:o} {}:{}", path.string(), facts.st_mode, facts.st_uid, facts.st_gid);
}

/// Everything that could turn a verdict: the host's kernel, QEMU's file (a new version is a new file), the guest's
/// kernel, the device and who we are.
std::string cache_key(const AccelRequest& request, Accel accel, const fs::path& qemu) {
  const std::string all =
      fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n", to_string(accel), platform::kernel_release(), identity(qemu),
                  request.image_digest, accel == Accel::kvm ? device_identity(request.kvm_device) : "", ::geteuid());
  return sha256_hex(all);
}

struct Verdict {
  bool usable = false;
  std::string why;
};

/// A cached verdict for exactly this key. A cache that cannot be read only costs a probe.
std::optional<Verdict> load(const fs::path& file, const std::string& key) {
  const auto text = read_file_if_exists(file);
  if (!text) return std::nullopt;
  error_code ec;
  const json::value value = json::parse(*text, ec);
  const json::object* all = ec ? nullptr : value.if_object();
  const json::value* entry = all != nullptr ? all->if_contains(key) : nullptr;
  const json::object* verdict = entry != nullptr ? entry->if_object() : nullptr;
  if (verdict == nullptr) return std::nullopt;
  const json::value* usable = verdict->if_contains("usable");
  const json::value* why = verdict->if_contains("why");
  if (usable == nullptr || !usable->is_bool() || why == nullptr || !why->is_string()) return std::nullopt;
  return Verdict{usable->get_bool(), std::string(why->get_string())};
}

/// Keeps only the newest verdict per accelerator and image would need more than it saves: few keys ever exist.
void save(const fs::path& file, const std::string& key, const Verdict& verdict) {
  json::object all;
  error_code ec;
  const json::value old = json::parse(read_file_if_exists(file).value_or("{}"), ec);
  constexpr std::size_t most_entries = 64;
  if (!ec && old.is_object() && old.get_object().size() < most_entries) all = old.get_object();
  json::object entry;
  entry["usable"] = verdict.usable;
  entry["why"] = verdict.why;
  all[key] = std::move(entry);
  try {
    write_atomically(file, json::serialize(all) + "\n");
  } catch (const Error& error) {
    log::warn("the accelerator's verdict is not remembered: {}", one_line(error));
  }
}

std::vector<std::string> probe_command(const AccelRequest& request, Accel accel, const fs::path& qemu) {
  const bool x86 = request.arch == "x86_64";
  std::vector<std::string> argv{qemu.string(),
                                "-nodefaults",
                                "-no-user-config",
                                "-display",
                                "none",
                                "-no-reboot",
                                "-machine",
                                x86 ? "q35,vmport=off,hpet=off,i8042=off,sata=off,smbus=off,usb=off,dump-guest-core=off"
                                    : "virt,gic-version=max,dump-guest-core=off",
                                "-accel",
                                std::string(to_string(accel)),
                                "-cpu",
                                "host",
                                "-smp",
                                "1",
                                "-m",
                                request.boot == "direct" ? "512M" : "1G",
                                "-chardev",
                                "stdio,id=console,signal=off",
                                "-serial",
                                "chardev:console"};
  auto add = [&argv](std::initializer_list<std::string> words) { argv.insert(argv.end(), words); };
  if (request.boot == "direct") {
    add({"-kernel", request.kernel.string(), "-append", x86 ? "console=ttyS0 panic=-1" : "console=ttyAMA0 panic=-1"});
    return argv;
  }
  // What it writes goes to a temporary file of QEMU's.
  add({"-drive", "if=none,id=root,format=raw,snapshot=on,file=" + escape_option(request.disk.string()), "-device",
       "virtio-blk-pci,drive=root,bootindex=0"});
  if (request.boot == "efi") {
    const fs::path firmware = find_firmware(request.arch, qemu);
    if (x86)
      add({"-drive", "if=pflash,format=raw,readonly=on,file=" + escape_option(firmware.string())});
    else
      add({"-bios", firmware.string()});
  }
  return argv;
}

/// Boots from the disk until the console shows what was waited for; true then, and QEMU is ended.
asio::awaitable<bool> watch_disk_boot(Command command, std::chrono::milliseconds limit, Finished& finished) {
  auto executor = co_await asio::this_coro::executor;
  Event up(executor);
  auto on_line = [&up](std::string_view line) {
    if (kernel_is_up(line)) up.set();
  };
  auto booting = run(std::move(command), "", limit, on_line);
  auto group = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(booting), asio::deferred),
                                                       asio::co_spawn(executor, up.wait(), asio::deferred));
  auto [order, failure, ended, not_up] =
      co_await group.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  if (up.is_set()) co_return true;
  if (failure) std::rethrow_exception(failure);
  finished = std::move(ended);
  co_return false;
}

asio::awaitable<Verdict> probe(const AccelRequest& request, Accel accel, const fs::path& qemu) {
  Command command;
  command.argv = probe_command(request, accel, qemu);
  const std::string name = upper(accel);
  const auto began = std::chrono::steady_clock::now();
  Finished finished;
  bool ended = true, up = false;
  const bool direct = request.boot == "direct";
  const auto limit = direct ? request.limit : request.disk_limit;
  try {
    if (direct)
      finished = co_await run(std::move(command), "", limit);
    else
      up = co_await watch_disk_boot(std::move(command), limit, finished);
  } catch (const Error& error) {
    if (error.code() != Errc::timed_out) throw;
    ended = false;
  }
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  log::info("probe of {}: {} after {} ms", name, up ? "up" : ended ? finished.status.str() : "killed", took.count());
  Verdict verdict;
  if (up) {
    verdict = {true, name + " ran the image's kernel to its end"};
    co_return verdict;
  }
  switch (judge_probe(finished.output, ended)) {
    case ProbeVerdict::usable: verdict = {true, name + " ran the guest's kernel to its end"}; break;
    case ProbeVerdict::ended_early: {
      const std::string last = last_lines(finished.errors, 1);
      verdict.why =
          fmt::format("{} cannot run a Linux guest on this host: QEMU ended with {}", name, finished.status.str());
      if (!last.empty()) verdict.why += " (" + last + ")";
      break;
    }
    case ProbeVerdict::no_end:
      verdict.why =
          fmt::format("{} cannot run a Linux guest on this host: the probe guest did not reach its end in {} s", name,
                      limit.count() / 1000.0);
      break;
  }
  co_return verdict;
}

/// The verdict on the host's own accelerator, from the cache if possible.
asio::awaitable<Verdict> examine(const AccelRequest& request, Accel accel) {
  if (accel == Accel::kvm) {
    if (std::string problem = kvm_problem(request.kvm_device); !problem.empty()) {
      const Verdict no{false, std::move(problem)};
      co_return no;
    }
  }
  const auto qemu = find_program("qemu-system-" + request.arch);
  if (!qemu) co_await find_qemu(request.arch);  // throws with the remedy
  const std::string key = cache_key(request, accel, *qemu);
  if (auto known = load(request.cache_file, key)) co_return *known;
  if (request.progress) request.progress("trying whether " + upper(accel) + " runs the guest's kernel");
  Verdict verdict = co_await probe(request, accel, *qemu);
  save(request.cache_file, key, verdict);
  co_return verdict;
}

}  // namespace

std::string kvm_problem(const fs::path& device) {
  // Opening is what counts: a mode says nothing about groups.
  UniqueFd fd(::open(device.c_str(), O_RDWR | O_CLOEXEC));
  if (fd) return {};
  const int saved = errno;
  if (saved == ENOENT) return fmt::format("this host has no {}", device.string());
  if (saved == EACCES || saved == EPERM)
    return fmt::format(
        "{} may not be opened: add yourself to its group (usually 'sudo usermod -aG kvm $USER') and "
        "log in again",
        device.string());
  return fmt::format("{} cannot be opened: {}", device.string(), std::strerror(saved));
}

ProbeVerdict judge_probe(std::string_view console, bool ended) {
  if (!ended) return ProbeVerdict::no_end;
  return console.find("Kernel panic - not syncing: VFS") != std::string_view::npos ? ProbeVerdict::usable
                                                                                   : ProbeVerdict::ended_early;
}

bool kernel_is_up(std::string_view line) {
  for (const std::string_view mark : {"Freeing unused kernel", "as init process", "systemd[1]:", "Welcome to "})
    if (line.find(mark) != std::string_view::npos) return true;
  return false;
}

asio::awaitable<AccelChoice> choose_accel(AccelRequest request) {
  const bool mac = request.host.os == "macos";
  const Accel own = mac ? Accel::hvf : Accel::kvm;
  if (request.wish == AccelWish::tcg) {
    const AccelChoice asked{Accel::tcg, "asked for; the guest is emulated"};
    co_return asked;
  }
  std::string why;
  if (request.wish != AccelWish::automatic && (request.wish == AccelWish::hvf) != mac) {
    why = mac ? "KVM is for Linux hosts" : "HVF is for macOS hosts";
  } else if (request.arch != request.host.arch) {
    why = fmt::format("the guest is {} and this host {}", request.arch, request.host.arch);
  } else {
    Verdict verdict = co_await examine(request, own);
    if (verdict.usable) {
      const AccelChoice chosen{own, std::move(verdict.why)};
      co_return chosen;
    }
    why = std::move(verdict.why);
  }
  if (request.wish != AccelWish::automatic)
    throw Error(Errc::host_requirement,
                fmt::format("{} cannot be used", request.wish == AccelWish::kvm ? "KVM" : "HVF"),
                "use --accel auto, which falls back to emulation")
        .because(why);
  AccelChoice fallback{Accel::tcg, fmt::format("{}; {}", why, emulated)};
  co_return fallback;
}

}  // namespace cl
