#include "provision/agent/services.hpp"

#include <time.h>

#include <algorithm>
#include <cerrno>

#include "provision/agent/address.hpp"
#include "provision/agent/listen_stream.hpp"
#include "provision/agent/message_stream.hpp"
#include "provision/agent/socket_stream.hpp"
#include "provision/agent/system.hpp"
#include "provision/channel/protocol.hpp"

namespace cl::agent {
namespace {

constexpr Service services[] = {
    {"listeners", &listeners, true}, {"files", &file_events}, {"trim", &trim}, {"sync", &sync_disks},
    {"statistics", &statistics},     {"units", &units},       {"hold", &hold}, {"cover", &cover, true}};

constexpr Service run_service{"run", &run_program, true};
bool programs_allowed = false;

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

/// "unix PATH", "kept PATH", "tcp ADDRESS PORT", "udp ADDRESS PORT".
std::unique_ptr<Stream> make_listener(Session& session, std::uint32_t id, std::string_view what, std::string& why) {
  const std::string_view kind = take_word(what);
  const bool kept = kind == "kept";
  if (!kept && kind != "unix" && kind != "tcp" && kind != "udp") {
    why = "nothing listens so";
    return nullptr;
  }
  const auto address = kept || kind == "unix" ? read_unix(what, why) : read_ip(what, why);
  if (!address) return nullptr;
  if (kind == "udp") return std::make_unique<UdpListenStream>(session, id, *address);
  return std::make_unique<ListenStream>(session, id, *address, kept);
}

}  // namespace

std::unique_ptr<Stream> make_stream(Session& session, std::uint32_t id, std::string_view what, std::string& why) {
  const std::string_view name = take_word(what);
  if (name == "listen") return make_listener(session, id, what, why);
  if (name == "unix" || name == "tcp" || name == "udp") {
    const auto address = name == "unix" ? read_unix(what, why) : read_ip(what, why);
    if (!address) return nullptr;
    if (name == "udp") return std::make_unique<UdpStream>(session, id, *address);
    return std::make_unique<SocketStream>(session, id, *address);
  }
  if (name == "taken") {
    std::uint32_t number = 0;
    UniqueFd connection = read_number(what, number) ? session.arrivals().take(number) : UniqueFd();
    if (connection) return std::make_unique<SocketStream>(session, id, std::move(connection));
    why = "it is not waiting any more";
    return nullptr;
  }
  if (name == "echo") return std::make_unique<EchoStream>(session, id);
  if (name == "clock") return std::make_unique<ClockStream>(session, id);
  for (const Service& service : services)
    if (name == service.name) return std::make_unique<ChildStream>(session, id, service, what);
  if (programs_allowed && name == run_service.name)
    return std::make_unique<ChildStream>(session, id, run_service, what);
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
  words += " unix tcp udp echo clock listen taken";
  for (const Service& service : services) words += std::string(" ") + service.name;
  if (programs_allowed) words += std::string(" ") + run_service.name;
  return words;
}

void allow_programs() { programs_allowed = true; }

}  // namespace cl::agent
