#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "provision/ssh/apart.hpp"
#include "provision/ssh/keys.hpp"
#include "src/base/child.hpp"
#include "src/base/task_group.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/support/temp_dir.hpp"

/// Real SSH servers for tests, without a network: each connection is a socket pair with an `sshd -i` of its own, keys
/// and configuration in a temporary directory.
namespace cl::test {

/// How the bytes travel between us and the server.
enum class Transport {
  whole,  ///< as they come
  split,  ///< in pieces of 1 to 7 bytes, both ways, by a fixed seed
  tiny,   ///< with the smallest socket buffers that the kernel gives
  tcp     ///< over a TCP connection on loopback
};

struct SocketPair {
  UniqueFd ours, theirs;
};
/// A connected pair of stream sockets, close-on-exec.
SocketPair socket_pair();
/// The same over TCP.
SocketPair tcp_pair();

class SshLab {
 public:
  explicit SshLab(asio::any_io_executor executor);
  ~SshLab();

  /// Makes the keys and the configuration (`extra`: further lines of sshd_config). Await it first.
  asio::awaitable<void> set_up(std::string extra = {});
  /// Starts a server; our end of the connection to it.
  UniqueFd serve(Transport how = Transport::whole);
  /// A unix socket at which each connection gets a server of its own.
  std::string server_socket();
  /// A login that the servers accept.
  SshLogin login() const;
  asio::awaitable<std::unique_ptr<SshSession>> connect(Transport how = Transport::whole);

  /// Words before each server's command line, such as nsenter's.
  void set_prefix(std::vector<std::string> words) { prefix_ = std::move(words); }

  /// Sends a signal to the servers started so far and to what they run.
  void signal_servers(int signal);
  /// Kills the servers started so far.
  void kill_servers();
  /// Waits for the servers' ends, killing those that still run. Await it last.
  asio::awaitable<void> stop();

  /// A unix socket whose server sends back what it gets and ends its direction when the client has ended its own.
  std::string echo_socket();
  /// A unix socket whose server accepts, and never reads.
  std::string deaf_socket();
  /// A unix socket whose server sends `count` bytes of pattern() and closes.
  std::string source_socket(std::size_t count);
  /// Spawned with the lab, ends with it.
  TaskGroup& tasks() { return tasks_; }
  std::filesystem::path directory() const { return directory_.path(); }
  const KeySet& keys() const { return keys_; }
  /// What the servers have logged.
  std::string log() const;

 private:
  void start_server(int socket);
  std::string listen(std::string name, std::function<asio::awaitable<void>(int)> handle);

  asio::any_io_executor executor_;
  TempDir directory_;
  KeySet keys_;
  std::list<Child> servers_;
  std::vector<std::string> prefix_;
  int sockets_ = 0;
  TaskGroup tasks_;
};

bool in_one_process();
/// connect_ssh_apart(), as the product does; connect_ssh() where COLIMA_LIKE_SSH_IN_ONE_PROCESS is set.
asio::awaitable<std::unique_ptr<SshSession>> log_in(cl::Transport transport, SshLogin login);

/// `count` bytes that repeat only after 2^32, from `from` on: a lost, doubled or moved byte shows.
std::string pattern(std::size_t count, std::size_t from = 0);

}  // namespace cl::test
