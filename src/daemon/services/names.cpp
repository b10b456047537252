#include "src/daemon/services/names.hpp"

#include <chrono>
#include <utility>

#include "profiles/egress.hpp"
#include "src/base/blocking.hpp"
#include "src/base/failure.hpp"
#include "src/base/file.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/daemon/core.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view where = "127.0.0.154 53";  // vm/guest_image: net
constexpr std::size_t most_connections = 64;
constexpr auto connections_patience = 5s;

/// Of this computer, at this moment.
asio::awaitable<std::vector<asio::ip::udp::endpoint>> servers_now() {
  auto read = [] { return read_file_if_exists("/etc/resolv.conf").value_or(""); };
  co_return name_servers(co_await blocking(std::move(read)));
}

/// RFC 1035, 4.1.1: there is more than the datagram holds.
bool is_truncated(std::string_view answer) {
  constexpr std::size_t flags = 2;
  constexpr unsigned char truncated = 0x02;
  return answer.size() > flags && (static_cast<unsigned char>(answer[flags]) & truncated) != 0;
}

asio::awaitable<std::unique_ptr<ByteStream>> connect_to_server() {
  const auto servers = co_await servers_now();
  if (servers.empty()) throw Error(Errc::io, "this computer has no name server");
  co_return co_await connect_tcp(servers.front().address().to_string(), servers.front().port());
}

}  // namespace

asio::awaitable<void> Names::open() {
  const Profile& profile = core_.state().profile;
  const bool own_machine = core_.driver->traits().own_machine;
  if (!own_machine || egress_of(profile).mode != Egress::Mode::open || !profile.dns.empty()) {
    co_await close();  // that of another machine
    co_return;
  }
  if (questions_) co_return;
  auto find = [this](DnsQuestion question, std::string datagram) {
    return answer(std::move(question), std::move(datagram));
  };
  questions_ = std::make_unique<GuestQuestions>(core_, std::string(where), std::move(find));
}

asio::awaitable<void> Names::close() {
  const auto questions = std::exchange(questions_, nullptr);
  if (questions) co_await questions->stop();
  const auto connections = std::exchange(connections_, nullptr);
  if (connections) co_await connections->stop();
  names_.forget();
}

asio::awaitable<std::string> Names::answer(DnsQuestion question, std::string datagram) {
  if (question.is_a() || question.is_aaaa()) {
    const Addresses found = co_await names_.look_up(question.name);
    if (!found.empty()) {
      const auto guest = co_await core_.guest.when_connected();
      const std::string host = co_await core_.guest.host_address(*guest);
      co_return dns_answer(question, DnsResult::ok, seen_from_guest(found, asio::ip::make_address(host)),
                           static_cast<std::uint32_t>(HostNames::fresh.count()));
    }
  }
  // Aliases, services, texts, and whether there is such a name at all.
  std::string said = co_await ask_name_servers(std::move(datagram), co_await servers_now());
  if (is_truncated(said)) co_await take_connections();
  co_return said;
}

/// Who is told that an answer was truncated asks again by TCP, and connects to this computer's own server.
asio::awaitable<void> Names::take_connections() {
  if (!connections_) {
    ReverseForward::Config config;
    config.where = "tcp " + std::string(where);
    config.guest = [this] { return core_.guest.when_connected(); };
    config.answer = [](const GuestListener::Arrival&) { return connect_to_server(); };
    config.most = most_connections;
    connections_ = std::make_unique<ReverseForward>(core_.executor, std::move(config));
  }
  co_await failure_of(with_timeout(connections_patience, "listening in the guest", connections_->settled()));
}

}  // namespace cl
