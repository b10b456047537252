#pragma once

#include <boost/asio/ip/address.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The few DNS messages (RFC 1035) that there are between a machine and this computer: its questions, and our answers.
namespace cl {

struct DnsQuestion {
  std::string name;        ///< in lower case, without the last dot
  std::uint16_t type = 0;  ///< 1 = A, 28 = AAAA
  std::string message;     ///< header and question, as they came
  bool is_a() const noexcept { return type == 1; }
  bool is_aaaa() const noexcept { return type == 28; }
};

/// Nothing when it is no query with one question of the internet's class.
std::optional<DnsQuestion> read_dns_question(std::string_view datagram);

/// The answer to what asks and is not understood; empty for what asks nothing.
std::string dns_format_error(std::string_view datagram);

enum class DnsResult : std::uint8_t { ok = 0, server_failure = 2, no_such_name = 3 };
/// With those of the addresses that are of the question's type, as many as a datagram of 512 bytes holds; they hold for
/// `seconds`.
std::string dns_answer(const DnsQuestion& question, DnsResult result,
                       const std::vector<boost::asio::ip::address>& addresses = {}, std::uint32_t seconds = 0);

}  // namespace cl
