#pragma once

#include <boost/asio/ip/address_v4.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// The few DNS messages (RFC 1035) that a machine whose network is filtered needs: its questions, and our answers.
namespace cl {

struct DnsQuestion {
  std::string name;        ///< in lower case, without the last dot
  std::uint16_t type = 0;  ///< 1 = A
  std::string message;     ///< header and question, as they came
  bool is_a() const noexcept { return type == 1; }
};

/// Nothing when it is no query with one question of the internet's class.
std::optional<DnsQuestion> read_dns_question(std::string_view datagram);

/// The answer to what asks and is not understood; empty for what asks nothing.
std::string dns_format_error(std::string_view datagram);

enum class DnsResult : std::uint8_t { ok = 0, server_failure = 2, no_such_name = 3 };
/// With the address when there is one, which holds for `seconds`.
std::string dns_answer(const DnsQuestion& question, DnsResult result,
                       std::optional<boost::asio::ip::address_v4> address = {}, std::uint32_t seconds = 0);

}  // namespace cl
