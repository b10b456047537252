// Whatever bytes the guest sends, and whatever QEMU passes on of it: they are understood or refused, within bounds, and
// do not depend on how they were cut on their way. The first byte chooses who reads the others.
#include <boost/asio/io_context.hpp>
#include <boost/json/parse.hpp>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>

#include "docker/ports.hpp"
#include "provision/platforms.hpp"
#include "provision/ssh/banner.hpp"
#include "provision/steps.hpp"
#include "src/base/error.hpp"
#include "src/cli/usage.hpp"
#include "src/egress/dns_message.hpp"
#include "src/egress/first_bytes.hpp"
#include "src/forward/listener_watch.hpp"
#include "tests/fuzz/growth.hpp"
#include "vm/qemu/qmp_codec.hpp"

namespace {

using cl::Error;

constexpr std::size_t again_and_again = 256 * 1024;  // so many bytes of the same, as a hostile guest would send

void find_banner(const std::string& bytes) {
  cl::ssh::BannerFinder finder;
  std::string unread;
  for (const char c : bytes) {
    unread += c;
    const auto seen = finder.look(unread);
    if (seen.drop > unread.size()) std::abort();
    unread.erase(0, seen.drop);
    if (!seen.found) continue;
    if (!unread.starts_with("SSH-")) std::abort();
    return;
  }
}

void read_steps(const std::string& bytes) {
  const cl::fuzz::Growth growth(again_and_again);  // 64 KiB of output, twice while it grows
  cl::StepReader reader;
  for (std::size_t fed = 0; fed < again_and_again && !bytes.empty(); fed += bytes.size()) {
    std::string_view rest = bytes;
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(line.size() + 1, rest.size()));
      reader.line(line);
    }
    growth.check();
  }
  (void)reader.failure(1, bytes);
}

/// A guest whose agent says these bytes as a service's message, again and again.
class Speaking final : public cl::Guest {
 public:
  explicit Speaking(std::string message) : message_(std::move(message)) {}
  cl::asio::awaitable<std::unique_ptr<cl::GuestProcess>> exec(cl::ExecRequest) override { std::abort(); }
  cl::asio::awaitable<std::unique_ptr<cl::ByteStream>> open_unix(std::string) override { std::abort(); }
  cl::asio::awaitable<std::unique_ptr<cl::ByteStream>> open_tcp(std::string, std::uint16_t) override { std::abort(); }
  cl::asio::awaitable<void> lost() override { co_return; }
  cl::asio::awaitable<std::unique_ptr<cl::MessageStream>> open_service(std::string) override {
    struct Service final : cl::MessageStream {
      std::string message;
      std::size_t said = 0;
      cl::fuzz::Growth growth{8 * again_and_again};  // 10,000 listeners
      cl::asio::awaitable<std::optional<std::string>> read() override {
        growth.check();
        if (message.empty() || said > again_and_again) co_return std::nullopt;
        said += message.size();
        co_return message;
      }
      cl::asio::awaitable<void> write(std::string_view) override { co_return; }
    };
    auto service = std::make_unique<Service>();
    service->message = message_;
    co_return service;
  }

 private:
  std::string message_;
};

void watch_listeners(const std::string& bytes) {
  cl::asio::io_context io(1);
  auto reach = [guest = std::make_shared<Speaking>(bytes)]() -> cl::asio::awaitable<std::shared_ptr<cl::Guest>> {
    co_return guest;
  };
  cl::ListenerWatch watch(io.get_executor(), reach, [] {});
  io.poll();
  cl::asio::co_spawn(io, watch.stop(), [](std::exception_ptr) {});
  io.restart();
  io.run();
}

void read_statistics(const std::string& bytes) {
  const cl::fuzz::Growth growth(again_and_again);
  cl::cli::UsageReader reader;
  for (int i = 0; i < 3; ++i) reader.take(bytes);
  growth.check();
}

/// The engine's list of containers, and behind a NUL the listeners of its machine.
void read_ports(const std::string& bytes) {
  const std::size_t end = bytes.find('\0');
  boost::system::error_code wrong;
  const auto containers = boost::json::parse(bytes.substr(0, end), wrong);
  if (wrong || !containers.is_array()) return;
  cl::PortRules rules;
  cl::WantedPorts ports = cl::wanted_ports(containers.as_array(), rules);
  const auto listener =
      cl::read_listener(end == std::string::npos ? std::string_view() : std::string_view(bytes).substr(end + 1));
  if (listener) cl::add_listeners(ports, {*listener}, containers.as_array(), rules);
  for (const auto& [at, port] : ports) {
    if (!(port.at == at) || !port.container) std::abort();
    port.targets();
  }
}

void read_qmp(const std::string& bytes) {
  const cl::fuzz::Growth growth(again_and_again);
  cl::QmpDecoder decoder;
  for (std::size_t at = 0; at < bytes.size(); at += 7) {
    decoder.feed(std::string_view(bytes).substr(at, 7));
    while (decoder.next()) {
    }
    growth.check();
  }
}

/// What was decided by a part is what all of it says: a guest cannot have its bytes looked at in another way by cutting
/// them otherwise.
void look_at_first_bytes(const std::string& bytes) {
  const cl::FirstBytes all = cl::look_at_first_bytes(bytes);
  for (std::size_t size = 0; size < bytes.size(); size += 1 + size / 8) {
    const cl::FirstBytes part = cl::look_at_first_bytes(std::string_view(bytes).substr(0, size));
    if (part.kind != cl::FirstBytes::Kind::more && (part.kind != all.kind || part.name != all.name)) std::abort();
  }
  if (cl::look_at_first_bytes(bytes, true).kind == cl::FirstBytes::Kind::more) std::abort();
}

/// A question, and our answer to it, which is no question itself.
void read_dns(const std::string& bytes) {
  const auto question = cl::read_dns_question(bytes);
  if (!question) return;
  const std::string answer =
      cl::dns_answer(*question, cl::DnsResult::ok, {boost::asio::ip::address_v4(0x01020304)}, 10);
  if (cl::read_dns_question(answer) || answer.size() != question->message.size() + (question->is_a() ? 16 : 0))
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0]) {
      case 'b': find_banner(bytes); break;
      case 'd': read_dns(bytes); break;
      case 'f': look_at_first_bytes(bytes); break;
      case 's': read_steps(bytes); break;
      case 'p': read_ports(bytes); break;
      case 'q': read_qmp(bytes); break;
      case 'l': watch_listeners(bytes); break;
      case 't': read_statistics(bytes); break;
      default: break;
    }
  } catch (const Error&) {  // refused
  }
  return 0;
}
