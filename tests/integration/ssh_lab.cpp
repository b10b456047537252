#include "tests/integration/ssh_lab.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <random>
#include <utility>

#include "provision/ssh/session_process.hpp"
#include "src/base/file.hpp"

namespace cl::test {

extern int (*session_process)(const char* version);  // of the program's main(): tests/support/main.cpp

namespace {

[[maybe_unused]] const bool is_its_process = (session_process = &ssh::run_session_process, true);

using Socket = asio::local::stream_protocol::socket;

void shrink_buffers(int fd) {
  const int size = 1;  // the kernel has a floor of a few KiB
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

std::string user_name() {
  const passwd* entry = ::getpwuid(::getuid());
  return entry != nullptr ? entry->pw_name : "root";
}

asio::awaitable<void> copy_in_pieces(std::shared_ptr<Socket> from, std::shared_ptr<Socket> to, unsigned seed) {
  std::minstd_rand random(seed);
  std::uniform_int_distribution<std::size_t> length(1, 7);
  char space[7];
  for (;;) {
    auto [ec, got] = co_await from->async_read_some(asio::buffer(space, length(random)), no_throw);
    if (ec) break;
    auto [write_ec, unused] = co_await asio::async_write(*to, asio::buffer(space, got), no_throw);
    if (write_ec) break;
  }
  error_code ignored;
  to->shutdown(Socket::shutdown_send, ignored);
  from->shutdown(Socket::shutdown_receive, ignored);
}

asio::awaitable<void> accept_all(asio::local::stream_protocol::acceptor acceptor, TaskGroup& tasks,
                                 std::function<asio::awaitable<void>(int)> handle) {
  for (;;) {
    auto [ec, socket] = co_await acceptor.async_accept(no_throw);
    if (ec) co_return;
    tasks.spawn("connection", handle(socket.release()));
  }
}

asio::awaitable<void> echo(int fd) {
  Socket socket(co_await asio::this_coro::executor, asio::local::stream_protocol(), fd);
  std::vector<char> space(64 * 1024);
  for (;;) {
    auto [ec, got] = co_await socket.async_read_some(asio::buffer(space), no_throw);
    if (ec) break;
    auto [write_ec, unused] = co_await asio::async_write(socket, asio::buffer(space, got), no_throw);
    if (write_ec) break;
  }
  error_code ignored;
  socket.shutdown(Socket::shutdown_send, ignored);
}

asio::awaitable<void> hold(int fd) {
  Socket socket(co_await asio::this_coro::executor, asio::local::stream_protocol(), fd);
  Event never(co_await asio::this_coro::executor);
  co_await never.wait();
}

asio::awaitable<void> send_pattern(int fd, std::size_t count) {
  Socket socket(co_await asio::this_coro::executor, asio::local::stream_protocol(), fd);
  constexpr std::size_t step = 256 * 1024;
  for (std::size_t at = 0; at < count; at += step) {
    const std::string part = pattern(std::min(step, count - at), at);
    auto [ec, unused] = co_await asio::async_write(socket, asio::buffer(part), no_throw);
    if (ec) co_return;
  }
}

}  // namespace

SocketPair socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw io_error("cannot make a socket pair", errno);
  for (const int fd : ends) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return SocketPair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

SocketPair tcp_pair() {
  asio::io_context io(1);
  asio::ip::tcp::acceptor acceptor(io, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  asio::ip::tcp::socket ours(io);
  ours.connect(acceptor.local_endpoint());
  asio::ip::tcp::socket theirs = acceptor.accept();
  SocketPair pair{UniqueFd(ours.release()), UniqueFd(theirs.release())};
  for (const int fd : {pair.ours.get(), pair.theirs.get()}) {
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  }
  return pair;
}

SshLab::SshLab(asio::any_io_executor executor) : executor_(executor), tasks_(executor) {}

SshLab::~SshLab() { kill_servers(); }

asio::awaitable<void> SshLab::set_up(std::string extra) {
  // The server's own requirement when it is started by root.
  if (::getuid() == 0) ::mkdir("/run/sshd", 0755);
  keys_ = co_await ensure_keys(directory_.path() / "keys");
  const std::string config = extra + "\nHostKey " + keys_.host_private_key.string() + "\nAuthorizedKeysFile " +
                             keys_.authorized_keys.string() +
                             "\nPermitRootLogin prohibit-password\nAuthenticationMethods publickey\nStrictModes no"
                             "\nUsePAM no\nUseDNS no\nPidFile none\nMaxSessions 4096\nPrintMotd no\nPrintLastLog no"
                             // bash, as a shell of sshd, would read the user's .bashrc, which may take any time.
                             "\nSetEnv SHLVL=1\n";
  write_atomically(directory_.path() / "sshd_config", config);
}

void SshLab::start_server(int socket) {
  UniqueFd log(::open((directory_.path() / "sshd.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  Command command;
  command.argv = {"sshd", "-i", "-e", "-f", (directory_.path() / "sshd_config").string()};
  command.argv[0] = find_program("sshd").value_or("/usr/sbin/sshd").string();  // it insists on an absolute path
  command.argv.insert(command.argv.begin(), prefix_.begin(), prefix_.end());
  command.input = socket;
  command.output = socket;
  command.errors = log.get();
  command.new_session = true;
  servers_.push_back(Child::start(executor_, command));
}

UniqueFd SshLab::serve(Transport how) {
  SocketPair pair = how == Transport::tcp ? tcp_pair() : socket_pair();
  if (how == Transport::tiny)
    for (const int fd : {pair.ours.get(), pair.theirs.get()}) shrink_buffers(fd);
  start_server(pair.theirs.get());
  if (how != Transport::split) return std::move(pair.ours);

  SocketPair front = socket_pair();
  auto inner = std::make_shared<Socket>(executor_, asio::local::stream_protocol(), pair.ours.release());
  auto outer = std::make_shared<Socket>(executor_, asio::local::stream_protocol(), front.theirs.release());
  tasks_.spawn("split to the server", copy_in_pieces(outer, inner, 1));
  tasks_.spawn("split from the server", copy_in_pieces(inner, outer, 2));
  return std::move(front.ours);
}

SshLogin SshLab::login() const {
  SshLogin login;
  login.user = user_name();
  login.private_key = keys_.private_key;
  login.host_key = keys_.host_key;
  return login;
}

bool in_one_process() { return std::getenv("COLIMA_LIKE_SSH_IN_ONE_PROCESS") != nullptr; }

asio::awaitable<std::unique_ptr<SshSession>> log_in(cl::Transport transport, SshLogin login) {
  if (!in_one_process()) co_return co_await connect_ssh_apart(std::move(transport), std::move(login));
  co_return co_await connect_ssh(std::move(transport), std::move(login));
}

asio::awaitable<std::unique_ptr<SshSession>> SshLab::connect(Transport how) {
  co_return co_await log_in(serve(how), login());
}

void SshLab::signal_servers(int signal) {
  for (Child& server : servers_) ::kill(-server.pid(), signal);
}

void SshLab::kill_servers() { signal_servers(SIGKILL); }

asio::awaitable<void> SshLab::stop() {
  kill_servers();
  for (Child& server : servers_) co_await server.wait();
  servers_.clear();
  co_await tasks_.stop();
}

std::string SshLab::listen(std::string name, std::function<asio::awaitable<void>(int)> handle) {
  const std::string path = (directory_.path() / (name + std::to_string(++sockets_))).string();
  asio::local::stream_protocol::acceptor acceptor(executor_, asio::local::stream_protocol::endpoint(path));
  tasks_.spawn(name, accept_all(std::move(acceptor), tasks_, std::move(handle)));
  return path;
}

std::string SshLab::server_socket() {
  auto serve_one = [this](int fd) -> asio::awaitable<void> {
    const UniqueFd socket(fd);
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    start_server(fd);
    co_return;
  };
  return listen("server", serve_one);
}

std::string SshLab::echo_socket() { return listen("echo", echo); }
std::string SshLab::deaf_socket() { return listen("deaf", hold); }
std::string SshLab::source_socket(std::size_t count) {
  return listen("source", [count](int fd) { return send_pattern(fd, count); });
}

std::string SshLab::log() const { return read_file_if_exists(directory_.path() / "sshd.log").value_or(""); }

std::string pattern(std::size_t count, std::size_t from) {
  std::string bytes(count, '\0');
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = from + i;
    bytes[i] = static_cast<char>(((at / 4) * 2654435761U >> (8 * (at % 4))) & 0xff);
  }
  return bytes;
}

}  // namespace cl::test
