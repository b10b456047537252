#include "provision/agent/listen_stream.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "provision/agent/system.hpp"

namespace cl::agent {
namespace {

constexpr int backlog = 128;
constexpr std::size_t longest_word = 96;   // what the host is told of one connection
constexpr int original_destination = 80;   // linux/netfilter_ipv4.h and netfilter_ipv6/ip6_tables.h, SO_ORIGINAL_DST
constexpr std::size_t room_for_name = 96;  // "ADDRESS PORT\n" in front of a datagram

const char* path(const Address& address) { return reinterpret_cast<const sockaddr_un&>(address.storage).sun_path; }

/// A socket that nobody listens on any more would be in the way, and so would the empty folder that Docker makes of a
/// path which is not there; another file is not ours to remove.
void make_way(const char* path) {
  struct stat facts{};
  if (::lstat(path, &facts) == 0 && S_ISSOCK(facts.st_mode)) ::unlink(path);
  ::rmdir(path);
  std::string parent(path);
  for (std::size_t slash = parent.find('/', 1); slash != std::string::npos; slash = parent.find('/', slash + 1)) {
    parent[slash] = '\0';
    ::mkdir(parent.c_str(), 0755);
    parent[slash] = '/';
  }
}

/// Bound; nothing, with errno, when that is not possible.
UniqueFd bound(const Address& address, int type) {
  const bool is_unix = address.family() == AF_UNIX;
  if (is_unix) make_way(path(address));
  UniqueFd made(::socket(address.family(), type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!made) return made;
  const int on = 1;
  if (!is_unix) ::setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.family() == AF_INET6) ::setsockopt(made.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(made.get(), address.get(), address.size) != 0) return {};
  // Of any user of the guest: who is meant to reach it is said by the folder, or the mount, that it is in.
  if (is_unix) ::chmod(path(address), 0666);
  return made;
}

/// Where a connection was going before a rule of the packet filter sent it here, or where it came to.
Address destination_of(int connection, int family) {
  Address to;
  to.size = sizeof to.storage;
  const int level = family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
  if (::getsockopt(connection, level, original_destination, to.get(), &to.size) == 0) return to;
  to.size = sizeof to.storage;
  ::getsockname(connection, to.get(), &to.size);
  return to;
}

void reset(UniqueFd connection) {
  const linger at_once{1, 0};
  if (connection) ::setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

}  // namespace

void ListenStream::begin() {
  if (socket_) return session_.queue(*this);  // again_soon()
  if (!listen() || !session_.loop().add(socket_.get(), *this)) return session_.refuse(*this, error_text(errno));
  session_.accept(*this);
}

/// False, with errno, when that is not possible.
bool ListenStream::listen() {
  if (kept_) socket_ = session_.kept_sockets().find(path(address_));
  if (socket_) return true;
  socket_ = bound(address_, SOCK_STREAM);
  if (!socket_ || ::listen(socket_.get(), backlog) != 0) return false;
  if (!kept_ || session_.kept_sockets().add(path(address_), socket_)) return true;
  errno = ENFILE;
  return false;
}

void ListenStream::ready(std::uint32_t) { session_.queue(*this); }

bool ListenStream::serve() {
  if (over || ended || credit.payload() < longest_word) return false;
  if (told_.size() >= Arrivals::most) {
    std::erase_if(told_, [this](std::uint32_t number) { return !session_.arrivals().has(number); });
    if (told_.size() >= Arrivals::most) {
      session_.again_soon(*this);
      return false;
    }
  }
  UniqueFd connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!connection && (errno == EINTR || errno == ECONNABORTED)) return true;
  // One that the system has no descriptor for stays in its queue, and no event comes for it again.
  if (!connection && errno != EAGAIN) session_.again_soon(*this);
  if (!connection) return false;
  session_.send(*this, arrived(std::move(connection)));
  return true;
}

/// What the host is told: "NUMBER", and of TCP where it was going.
std::string ListenStream::arrived(UniqueFd connection) {
  std::string told;
  if (address_.family() != AF_UNIX) {
    const int on = 1;
    ::setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    told = " " + written(destination_of(connection.get(), address_.family()));
  }
  const std::uint32_t number = session_.arrivals().add(std::move(connection));
  told_.push_back(number);
  return std::to_string(number) + told;
}

void ListenStream::take(std::string_view message) {
  session_.handed_on(*this, message.size());
  std::uint32_t number = 0;
  if (message == "forget") forgotten_ = true;
  if (take_word(message) == "drop" && read_number(message, number)) reset(session_.arrivals().take(number));
}

void ListenStream::release() {
  if (!socket_) return;
  session_.loop().remove(socket_.get());
  socket_.reset();
  if (address_.family() == AF_UNIX && !kept_) ::unlink(path(address_));
  if (kept_ && forgotten_) session_.kept_sockets().forget(path(address_));
  for (const std::uint32_t number : told_) reset(session_.arrivals().take(number));
}

void UdpListenStream::begin() {
  socket_ = bound(address_, SOCK_DGRAM);
  if (!socket_ || !session_.loop().add(socket_.get(), *this)) return session_.refuse(*this, error_text(errno));
  session_.accept(*this);
}

void UdpListenStream::ready(std::uint32_t) { session_.queue(*this); }

bool UdpListenStream::serve() {
  if (over || ended) return false;
  static char space[most_data];
  if (credit.payload() < sizeof space) return false;
  Address from;
  from.size = sizeof from.storage;
  const std::size_t room = sizeof space - room_for_name;
  const ssize_t got = ::recvfrom(socket_.get(), space + room_for_name, room, MSG_TRUNC, from.get(), &from.size);
  if (got < 0) return errno == EINTR || errno == ECONNREFUSED;
  const auto size = static_cast<std::size_t>(got);
  if (size > room) return true;  // lost, as on any network
  const std::string name = written(from) + "\n";
  char* const message = space + room_for_name - name.size();
  std::memcpy(message, name.data(), name.size());
  session_.send(*this, {message, name.size() + size});
  return true;
}

void UdpListenStream::take(std::string_view message) {
  session_.handed_on(*this, message.size());
  const std::size_t line = message.find('\n');
  if (line == std::string_view::npos) return;
  std::string why;
  const auto to = read_ip(message.substr(0, line), why);
  if (to && to->family() == address_.family())
    ::sendto(socket_.get(), message.data() + line + 1, message.size() - line - 1, MSG_NOSIGNAL, to->get(), to->size);
}

void UdpListenStream::release() {
  if (socket_) session_.loop().remove(socket_.get());
  socket_.reset();
}

}  // namespace cl::agent
