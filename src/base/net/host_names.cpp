#include "src/base/net/host_names.hpp"

#include <netdb.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <charconv>

#include "src/base/blocking.hpp"
#include "src/base/failure.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using asio::ip::udp;

constexpr auto limit = 10s;  // resolvers try several servers
constexpr std::size_t most_found = 1'024;
constexpr std::size_t most_addresses = 16;  // of one name
constexpr std::size_t largest_answer = 65'535;
constexpr std::size_t id_size = 2;

/// Whose servers do not answer take their time; nobody else waits for the threads that they hold.
BlockingThreads& lookup_threads() {
  static BlockingThreads threads({.threads = 8, .users = 8});
  return threads;
}

/// A server that cannot say, or will not; another one may (RFC 1035, 4.1.1).
bool is_refusal(std::string_view answer) {
  constexpr std::size_t flags = 3;
  constexpr int code = 0x0f, server_failure = 2, refused = 5;
  const int said = answer.size() > flags ? static_cast<unsigned char>(answer[flags]) & code : server_failure;
  return said == server_failure || said == refused;
}

asio::awaitable<std::string> ask_name_server(std::string message, udp::endpoint server) {
  udp::socket socket(co_await asio::this_coro::executor, server.protocol());
  auto [refused] = co_await socket.async_connect(server, no_throw);
  if (refused) throw Error(Errc::io, "cannot be reached").because(refused.message());
  auto [unsent, sent] = co_await socket.async_send(asio::buffer(message), no_throw);
  if (unsent) throw Error(Errc::io, "cannot be asked").because(unsent.message());
  std::string answer(largest_answer, '\0');
  for (;;) {
    auto [lost, size] = co_await socket.async_receive(asio::buffer(answer), no_throw);
    if (lost) throw Error(Errc::io, "does not answer").because(lost.message());
    if (size < id_size || answer.compare(0, id_size, message, 0, id_size) != 0) continue;  // of another question
    answer.resize(size);
    co_return answer;
  }
}

}  // namespace

Addresses addresses_of(const std::string& name) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int failure = ::getaddrinfo(name.c_str(), nullptr, &hints, &list); failure != 0) {
    if (failure == EAI_NONAME) return {};
#ifdef EAI_NODATA
    if (failure == EAI_NODATA) return {};
#endif
    throw Error(Errc::io, "'" + name + "' could not be looked up").because(::gai_strerror(failure));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
  Addresses found;
  for (const addrinfo* one = list; one != nullptr && found.size() < most_addresses; one = one->ai_next) {
    asio::ip::tcp::endpoint endpoint;
    endpoint.resize(one->ai_addrlen);
    std::copy_n(reinterpret_cast<const char*>(one->ai_addr), one->ai_addrlen, reinterpret_cast<char*>(endpoint.data()));
    found.push_back(endpoint.address());
  }
  return found;
}

asio::awaitable<Addresses> HostNames::ask(std::string name) {
  auto work = [name, ask = ask_] { return ask(name); };
  co_return co_await with_timeout(limit, "looking '" + name + "' up",
                                  lookup_threads().run(Files::users, std::move(work)));
}

asio::awaitable<Addresses> HostNames::look_up(std::string name) {
  const auto known = found_.find(name);
  if (known != found_.end() && known->second.until > Clock::now()) co_return known->second.addresses;
  if (const auto under_way = looks_.find(name); under_way != looks_.end()) {
    const auto look = under_way->second;
    co_await look->done.wait();
    if (look->failure) std::rethrow_exception(look->failure);
    co_return look->addresses;
  }
  const auto look = std::make_shared<Look>(co_await asio::this_coro::executor);
  looks_[name] = look;
  std::exception_ptr failure;
  try {
    look->addresses = co_await ask(name);
  } catch (...) {
    failure = std::current_exception();
  }
  look->failure = failure;
  if (failure && is_cancellation(failure))  // that of who asked first alone
    look->failure = std::make_exception_ptr(Error(Errc::io, "looking '" + name + "' up was given up"));
  looks_.erase(name);
  look->done.set();
  if (failure) std::rethrow_exception(failure);
  if (found_.size() >= most_found) found_.clear();
  found_[name] = {look->addresses, Clock::now() + fresh};
  co_return look->addresses;
}

Addresses seen_from_guest(const Addresses& addresses, const asio::ip::address& host) {
  Addresses seen;
  for (const asio::ip::address& address : addresses) {
    if (address.is_v6() && address.to_v6().is_link_local()) continue;
    const asio::ip::address as_seen = address.is_loopback() || address.is_unspecified() ? host : address;
    if (std::find(seen.begin(), seen.end(), as_seen) == seen.end()) seen.push_back(as_seen);
  }
  return seen;
}

std::vector<udp::endpoint> name_servers(std::string_view resolv_conf) {
  constexpr std::uint16_t port = 53;
  constexpr std::string_view word = "nameserver", blank = " \t\r";
  std::vector<udp::endpoint> servers;
  while (!resolv_conf.empty()) {
    std::string_view line = resolv_conf.substr(0, resolv_conf.find('\n'));
    resolv_conf.remove_prefix(std::min(line.size() + 1, resolv_conf.size()));
    if (!line.starts_with(word)) continue;
    line.remove_prefix(word.size());
    const auto begin = line.find_first_not_of(blank);
    if (begin == 0 || begin == std::string_view::npos) continue;
    line = line.substr(begin, line.find_first_of(blank, begin) - begin);
    error_code none;
    const auto address = asio::ip::make_address(line, none);
    if (!none) servers.emplace_back(address, port);
  }
  return servers;
}

asio::awaitable<std::string> ask_name_servers(std::string message, std::vector<udp::endpoint> servers,
                                              std::chrono::milliseconds patience) {
  if (servers.empty()) throw Error(Errc::io, "this computer has no name server");
  std::string refusal, why;
  for (const udp::endpoint& server : servers) {
    const std::string address = server.address().to_string();
    std::optional<std::string> answer;
    auto ask = with_timeout(patience, "asking " + address, store(ask_name_server(message, server), answer));
    const auto failure = co_await failure_of(std::move(ask));
    if (answer && !is_refusal(*answer)) co_return *answer;
    if (answer) refusal = *answer;
    if (failure) why += (why.empty() ? "" : "; ") + address + ": " + one_line(*failure);
  }
  if (refusal.empty()) throw Error(Errc::io, "no name server of this computer answers").because(why);
  co_return refusal;
}

}  // namespace cl
