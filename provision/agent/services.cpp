#include "provision/agent/services.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "provision/agent/message_stream.hpp"
#include "provision/agent/socket_stream.hpp"
#include "provision/agent/system.hpp"
#include "provision/channel/protocol.hpp"

namespace cl::agent {
namespace {

constexpr Service services[] = {
    {"listeners", &listeners, true}, {"files", &file_events}, {"trim", &trim}, {"sync", &sync_disks},
    {"statistics", &statistics},     {"units", &units},       {"hold", &hold}};

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

bool read_unix(std::string_view path, Address& to, std::string& why) {
  auto& address = reinterpret_cast<sockaddr_un&>(to.storage);
  if (path.size() >= sizeof address.sun_path) {
    why = "the path is too long";
    return false;
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  to.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return true;
}

/// "ADDRESS PORT".
bool read_ip(std::string_view text, Address& to, std::string& why) {
  const std::string address(take_word(text));
  auto& v4 = reinterpret_cast<sockaddr_in&>(to.storage);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(to.storage);
  std::uint16_t port = 0;
  if (!read_number(text, port)) {
    why = "that is no port";
  } else if (::inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    to.size = sizeof v4;
  } else if (::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    to.size = sizeof v6;
  } else {
    why = address + " is no address";
  }
  return why.empty();
}

class EchoStream : public Stream {
 public:
  using Stream::Stream;
  void begin() override { session_.accept(*this); }
  void take(std::string_view bytes) override {
    // Never more than the host takes back: its credit is as good as ours, or what does not fit waits.
    waiting_ += bytes;
    session_.queue(*this);
  }
  void take_end() override { session_.queue(*this); }
  void release() override {}
  bool serve() override {
    const std::size_t size = std::min({waiting_.size(), credit.payload(), most_data});
    if (size > 0) {
      session_.send(*this, std::string_view(waiting_).substr(0, size));
      waiting_.erase(0, size);
      session_.handed_on(*this, size);
    }
    if (!waiting_.empty()) return credit.payload() > 0;
    if (end_comes) {
      session_.end(*this);
      session_.forget_if_over(*this);
    }
    return false;
  }

 private:
  std::string waiting_;
};

/// In the loop itself: nothing of it blocks, and nothing comes between the message and the clock.
class ClockStream : public Stream {
 public:
  using Stream::Stream;
  void begin() override { session_.accept(*this); }
  void take(std::string_view time) override {
    const std::string answer = set(time);
    session_.handed_on(*this, time.size());
    if (credit.payload() >= answer.size()) session_.send(*this, answer);
  }
  void take_end() override {
    session_.end(*this);
    session_.forget_if_over(*this);
  }
  void release() override {}

 private:
  static std::string set(std::string_view text) {
    long long seconds = 0;
    long nanoseconds = 0;
    if (!read_number(take_word(text), seconds) || !read_number(text, nanoseconds)) return "error that is no time";
    timespec now{};
    now.tv_sec = static_cast<decltype(now.tv_sec)>(seconds);
    now.tv_nsec = nanoseconds;
    return ::clock_settime(CLOCK_REALTIME, &now) == 0 ? "ok" : "error " + error_text(errno);
  }
};

}  // namespace

std::unique_ptr<Stream> make_stream(Session& session, std::uint32_t id, std::string_view what, std::string& why) {
  const std::string_view name = take_word(what);
  Address address;
  if (name == "unix") {
    if (!read_unix(what, address, why)) return nullptr;
    return std::make_unique<SocketStream>(session, id, address.storage, address.size);
  }
  if (name == "tcp" || name == "udp") {
    if (!read_ip(what, address, why)) return nullptr;
    if (name == "udp") return std::make_unique<UdpStream>(session, id, address.storage, address.size);
    return std::make_unique<SocketStream>(session, id, address.storage, address.size);
  }
  if (name == "echo") return std::make_unique<EchoStream>(session, id);
  if (name == "clock") return std::make_unique<ClockStream>(session, id);
  for (const Service& service : services)
    if (name == service.name) return std::make_unique<ChildStream>(session, id, service, what);
  why = "there is no service of that name";
  return nullptr;
}

std::string hello_words() {
#if defined(__x86_64__)
  std::string words = "x86_64";
#elif defined(__aarch64__)
  std::string words = "aarch64";
#else
#error "the agent is for x86_64 and aarch64"
#endif
  words += " unix tcp udp echo clock";
  for (const Service& service : services) words += std::string(" ") + service.name;
  return words;
}

}  // namespace cl::agent
