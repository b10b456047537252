#pragma once

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/datagram_protocol.hpp>
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "docker/ports.hpp"
#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

/// A real dockerd of its own on this host, for tests: no network, no image registry, everything in a temporary
/// directory. Needs Linux, root and the programs dockerd, containerd and runc (Debian: docker.io).
namespace cl::test {

/// Why a dockerd cannot be started on this host at all; empty when it can be tried.
inline std::string no_dockerd() {
#ifndef __linux__
  return "dockerd runs on Linux only";
#else
  if (::geteuid() != 0) return "dockerd needs root";
  for (const char* program : {"dockerd", "containerd", "runc", "docker"})
    if (!find_program(program)) return std::string(program) + " is not installed";
  return {};
#endif
}

/// As for a guest, but begin where nobody on this host has a port at the moment: two guests of the same place would
/// want the same numbers, and so do two tests at once.
inline std::pair<std::uint16_t, std::uint16_t> free_ephemeral_ports() {
  constexpr int needed = 8;  // more than any test publishes without a number
  asio::io_context io(1);
  for (int attempt = 0;; ++attempt) {
    const std::string name = "guest " + std::to_string(::getpid()) + " " + std::to_string(attempt);
    const auto range = ephemeral_ports(name, platform::connection_ports());
    bool free = true;
    for (int i = 0; free && i < needed; ++i) {
      asio::ip::tcp::acceptor probe(io, asio::ip::tcp::v6());
      error_code ec;
      probe.bind({asio::ip::tcp::v6(), static_cast<std::uint16_t>(range.first + i)}, ec);
      free = !ec;
    }
    if (free || attempt == 100) return range;
  }
}

class Dockerd {
 public:
  enum class Network {
    none,          ///< containers have none
    own_namespace  ///< a bridge, and iptables, in a network name space of the engine's own, like that of a guest
  };

  /// Starts it and waits until it serves. Throws Error with the end of its log when it does not.
  explicit Dockerd(Network network = Network::none) {
    std::ofstream(dir_ / "daemon.json") << "{}\n";
    std::ofstream(log()).flush();
    UniqueFd log_file(::open(log().c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    Command command;
    command.argv = {"dockerd",
                    "--config-file",
                    (dir_ / "daemon.json").string(),
                    "--data-root",
                    (dir_ / "data"),
                    "--exec-root",
                    (dir_ / "exec"),
                    "--pidfile",
                    (dir_ / "pid"),
                    "--host",
                    "unix://" + socket().string(),
                    "--storage-driver",
                    "vfs"};
    if (network == Network::none) {
      for (const char* no : {"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"})
        command.argv.emplace_back(no);
    } else {
      const auto [first, last] = free_ephemeral_ports();
      const std::string set_up = "ip link set lo up && echo " + std::to_string(first) + " " + std::to_string(last) +
                                 " >/proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";
      const std::vector<std::string> enter{"unshare", "--net", "sh", "-c", set_up, "sh"};
      command.argv.insert(command.argv.begin(), enter.begin(), enter.end());
    }
    command.environment = {"NOTIFY_SOCKET=" + (dir_ / "notify").string(), "DOCKER_TMPDIR", "DOCKER_HOST"};
    command.output = command.errors = log_file.get();
    command.new_session = true;
    asio::local::datagram_protocol::socket notify(io_, (dir_ / "notify").string());
    child_.emplace(Child::start(io_.get_executor(), command));
    asio::co_spawn(io_, watch(), [](std::exception_ptr) {});
    std::array<char, 512> message;
    std::string said;
    std::function<void()> listen = [&] {
      notify.async_receive(asio::buffer(message), [&](error_code ec, std::size_t size) {
        if (ec) return;
        said.append(message.data(), size);
        if (said.find("READY=1") == std::string::npos) return listen();
        io_.stop();
      });
    };
    listen();
    io_.run_for(60s);
    io_.restart();
    if (said.find("READY=1") != std::string::npos) return;
    notify.cancel();
    const std::string tail = tail_lines(log(), 5);
    end();
    throw Error(Errc::host_requirement, "dockerd does not start here").because(tail);
  }
  Dockerd(const Dockerd&) = delete;
  Dockerd& operator=(const Dockerd&) = delete;
  ~Dockerd() { end(); }

  std::filesystem::path socket() const { return dir_ / "docker.sock"; }
  std::filesystem::path log() const { return dir_ / "dockerd.log"; }
  const TempDir& directory() const { return dir_; }
  void kill(int signal) { child_->kill(signal); }
  /// Of dockerd; with its own name space, `nsenter --net --target PID` gets there.
  pid_t pid() const { return child_->pid(); }

  /// The docker CLI with a configuration of its own, towards `at`.
  Command cli(const std::filesystem::path& at, const std::vector<std::string>& arguments) const {
    Command command;
    command.argv = {"docker"};
    command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
    command.environment = {"DOCKER_HOST=unix://" + at.string(), "DOCKER_CONFIG=" + (dir_ / "cli").string(),
                           "DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_BUILDKIT=0"};
    return command;
  }

  /// Makes the image `busybox-test` (static busybox, this host's perl and 4 MiB that do not compress). Throws when
  /// there is no busybox.
  asio::awaitable<void> import_image() {
    const auto busybox = find_program("busybox");
    if (!busybox) throw Error(Errc::host_requirement, "busybox is not installed");
    std::filesystem::create_directories(dir_ / "root/bin");
    std::filesystem::copy_file(*busybox, dir_ / "root/bin/busybox", std::filesystem::copy_options::overwrite_existing);
    for (const char* name : {"sh", "cat", "echo", "sleep", "nc"}) {
      std::error_code exists_already;
      std::filesystem::create_symlink("busybox", dir_ / ("root/bin/" + std::string(name)), exists_already);
    }
    std::string noise(4 << 20, '\0');
    std::ifstream("/dev/urandom").read(noise.data(), static_cast<std::streamsize>(noise.size()));
    std::ofstream(dir_ / "root/noise") << noise;
    Command copy;
    copy.argv = {"sh", "-c",
                 "cp -L --parents $(ldd /usr/bin/perl | grep -o '/[^ ]*') /usr/bin/perl " + (dir_ / "root").string()};
    co_await cl::run(std::move(copy), "", 30s);
    Command tar;
    tar.argv = {"tar", "-C", (dir_ / "root").string(), "-c", "."};
    const Finished packed = co_await cl::run(std::move(tar), "", 30s);
    std::vector<std::string> arguments{"import", "-", "busybox-test"};
    const Finished imported = co_await cl::run(cli(socket(), arguments), packed.output, 60s);
    if (!imported.status.ok()) throw Error(Errc::host_requirement, "docker import failed").because(imported.errors);
  }

  /// All of them, running or not.
  asio::awaitable<void> remove_containers() {
    std::vector<std::string> list{"ps", "--all", "--quiet"};
    const Finished found = co_await cl::run(cli(socket(), list), "", 20s);
    std::vector<std::string> arguments{"rm", "--force", "--volumes"};
    std::istringstream ids(found.output);
    for (std::string id; ids >> id;) arguments.push_back(id);
    if (arguments.size() > 3) co_await cl::run(cli(socket(), arguments), "", 40s);
  }

 private:
  asio::awaitable<void> watch() {
    co_await child_->wait();
    ended_ = true;
    io_.stop();
  }

  /// Removes the containers (their processes outlive a killed dockerd), ends dockerd, and unmounts what is left:
  /// the directory is about to be removed with everything in it.
  void end() {
    if (!ended_ && child_) {
      try {
        cl::test::run(remove_containers(), 60s);
      } catch (const std::exception&) {  // it may be broken on purpose; what follows does not need it
      }
      child_->kill(SIGTERM);
      io_.restart();
      io_.run_for(20s);
      if (!ended_) {
        child_->kill(SIGKILL);
        io_.restart();
        io_.run_for(20s);
      }
    }
#ifdef __linux__
    std::ifstream mounts("/proc/self/mounts");
    std::string line;
    while (std::getline(mounts, line)) {
      std::istringstream words(line);
      std::string device, where;
      words >> device >> where;
      if (where.starts_with(dir_.path().string() + "/")) ::umount2(where.c_str(), MNT_DETACH);
    }
#endif
  }

  TempDir dir_;
  asio::io_context io_{1};
  std::optional<Child> child_;
  bool ended_ = false;
};

}  // namespace cl::test
