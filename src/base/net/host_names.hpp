#pragma once

#include <boost/asio/ip/udp.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/async.hpp"

/// Names as this computer knows them at the moment.
namespace cl {

using Addresses = std::vector<asio::ip::address>;

/// By getaddrinfo(3): with /etc/hosts, a VPN's servers, search domains and mDNS. At most 16; none: there is no such
/// name, or it has no address. Blocks. Throws Error{io} when nobody could say.
Addresses addresses_of(const std::string& name);

/// Looks names up without holding up the loop. What was found is kept for `fresh`, and look-ups of one name at a time
/// are one.
class HostNames {
 public:
  using Ask = std::function<Addresses(const std::string&)>;
  explicit HostNames(Ask ask = addresses_of) : ask_(std::move(ask)) {}

  /// As addresses_of(); Error{timed_out} after ten seconds.
  asio::awaitable<Addresses> look_up(std::string name);
  void forget() { found_.clear(); }

  static constexpr std::chrono::seconds fresh{10};

 private:
  struct Found {
    Addresses addresses;
    std::chrono::steady_clock::time_point until;
  };
  struct Look {
    explicit Look(const asio::any_io_executor& executor) : done(executor) {}
    Event done;
    Addresses addresses;
    std::exception_ptr failure;
  };
  asio::awaitable<Addresses> ask(std::string name);

  Ask ask_;
  std::map<std::string, Found> found_;
  std::map<std::string, std::shared_ptr<Look>> looks_;  ///< that are under way
};

/// What of them leads there from a guest, to whom this computer is `host`: its own loopback addresses become that, and
/// addresses of one network alone are left out.
Addresses seen_from_guest(const Addresses& addresses, const asio::ip::address& host);

/// The servers that resolv.conf(5) names, in their order, at port 53.
std::vector<asio::ip::udp::endpoint> name_servers(std::string_view resolv_conf);

/// Sends a DNS message to the servers, one after the other until one answers, and returns what it says. Each has
/// `patience`. Throws Error{io}.
asio::awaitable<std::string> ask_name_servers(std::string message, std::vector<asio::ip::udp::endpoint> servers,
                                              std::chrono::milliseconds patience = std::chrono::seconds(3));

}  // namespace cl
