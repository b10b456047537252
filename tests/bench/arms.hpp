#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "provision/ssh/keys.hpp"
#include "src/base/unique_fd.hpp"

/// The ways to a stand-in engine that socket_bench compares, each in processes of its own.
namespace cl::bench {

namespace fs = std::filesystem;

/// Ended with its owner.
struct Process {
  pid_t pid = -1;
  Process() = default;
  explicit Process(pid_t id) : pid(id) {}
  Process(Process&& other) noexcept : pid(std::exchange(other.pid, -1)) {}
  Process& operator=(Process&& other) noexcept {
    std::swap(pid, other.pid);
    return *this;
  }
  ~Process();
};

/// One way to the engine: a unix socket, or with an empty path a TCP port on loopback.
struct Arm {
  std::string name;
  fs::path socket;
  std::uint16_t port = 0;
  pid_t pid = -1;  ///< the process that forwards, if it is one of ours
};

/// An sshd on loopback with keys of its own.
struct Sshd {
  Process process;
  KeySet keys;
  int port = 0;
  std::string user;
};
Sshd start_sshd(const fs::path& directory);

/// Answers GET /_ping, GET /down?BYTES and POST /up?BYTES (that many bytes follow the header) on a unix socket and on a
/// TCP port; and what a PortForward asks, as an engine whose one container publishes `published` for that TCP port, and
/// `range` ports from `first_of_range` on.
struct Engine {
  fs::path socket;
  std::uint16_t port = 0;
  std::uint16_t published = 0;
  std::uint16_t first_of_range = 0;
  int range = 0;
};
Process fork_engine(const Engine& engine);

/// SocketForward at `at` to the engine's socket itself.
Process fork_relay(const fs::path& at, const fs::path& engine);
/// The same over our SSH session.
Process fork_relay_over_ssh(const fs::path& at, const Engine& engine, const Sshd& sshd);
/// The same over the guest's agent, which runs here.
Process fork_relay_over_agent(const fs::path& at, const Engine& engine);
/// PortForward over our SSH session; ready when the ports are open, which took `milliseconds`.
Process fork_ports_over_ssh(const Engine& engine, const Sshd& sshd, double& milliseconds);
/// The same over the agent.
Process fork_ports_over_agent(const Engine& engine, double& milliseconds);
/// OpenSSH's client; `forward` is the value of its -L, `cipher` is empty for its own choice.
Process start_ssh_l(const Sshd& sshd, const fs::path& directory, const std::string& forward, const std::string& cipher);

/// A TCP port of loopback that nobody has, nor the `count` - 1 after it; another one with each call.
std::uint16_t free_port(int count = 1);

}  // namespace cl::bench
