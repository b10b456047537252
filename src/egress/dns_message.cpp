#include "src/egress/dns_message.hpp"

#include <algorithm>
#include <cctype>

namespace cl {
namespace {

constexpr std::size_t header_size = 12;
constexpr std::size_t longest_name = 253;
constexpr std::size_t largest_datagram = 512;  // for who says nothing of larger ones (RFC 1035, 4.2.1)
constexpr std::uint16_t internet = 1;
constexpr std::uint16_t is_answer = 0x8000, operation = 0x7800, is_wanted_recursively = 0x0100, is_recursive = 0x0080;

std::uint16_t number_at(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint16_t>(static_cast<unsigned char>(bytes[at]) << 8 |
                                    static_cast<unsigned char>(bytes[at + 1]));
}

void append(std::string& to, std::uint32_t number, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) to += static_cast<char>(number >> shift & 0xff);
}

}  // namespace

std::optional<DnsQuestion> read_dns_question(std::string_view datagram) {
  if (datagram.size() < header_size) return std::nullopt;
  if ((number_at(datagram, 2) & (is_answer | operation)) != 0 || number_at(datagram, 4) != 1) return std::nullopt;
  DnsQuestion question;
  std::size_t at = header_size;
  while (true) {  // a question has nothing before it that it could point to, so each label is told in full
    if (at >= datagram.size()) return std::nullopt;
    const std::size_t length = static_cast<unsigned char>(datagram[at++]);
    if (length == 0) break;
    if (length > 63 || at + length > datagram.size()) return std::nullopt;
    if (!question.name.empty()) question.name += '.';
    for (const char c : datagram.substr(at, length)) {
      if (c == '.' || static_cast<unsigned char>(c) <= ' ' || static_cast<unsigned char>(c) >= 0x7f)
        return std::nullopt;
      question.name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    if (question.name.size() > longest_name) return std::nullopt;
    at += length;
  }
  if (question.name.empty() || at + 4 > datagram.size() || number_at(datagram, at + 2) != internet) return std::nullopt;
  question.type = number_at(datagram, at);
  question.message = datagram.substr(0, at + 4);
  return question;
}

std::string dns_format_error(std::string_view datagram) {
  if (datagram.size() < header_size || (number_at(datagram, 2) & is_answer) != 0) return "";
  constexpr std::uint16_t format_error = 1;
  std::string answer(datagram.substr(0, 2));
  append(answer, is_answer | (number_at(datagram, 2) & is_wanted_recursively) | is_recursive | format_error, 2);
  append(answer, 0, 4);
  append(answer, 0, 4);
  return answer;
}

std::string dns_answer(const DnsQuestion& question, DnsResult result,
                       const std::vector<boost::asio::ip::address>& addresses, std::uint32_t seconds) {
  std::string records;
  std::uint16_t count = 0;
  for (const boost::asio::ip::address& address : addresses) {
    if (address.is_v4() ? !question.is_a() : !question.is_aaaa()) continue;
    std::string record;
    append(record, 0xc000 | header_size, 2);  // the name of the question
    append(record, question.type, 2);
    append(record, internet, 2);
    append(record, seconds, 4);
    const auto put = [&record](const auto& bytes) {
      append(record, static_cast<std::uint32_t>(bytes.size()), 2);
      record.append(bytes.begin(), bytes.end());
    };
    address.is_v4() ? put(address.to_v4().to_bytes()) : put(address.to_v6().to_bytes());
    if (question.message.size() + records.size() + record.size() > largest_datagram) break;
    records += record;
    ++count;
  }
  std::string answer = question.message.substr(0, 2);
  const std::uint16_t asked = number_at(question.message, 2);
  append(answer, is_answer | (asked & is_wanted_recursively) | is_recursive | static_cast<std::uint16_t>(result), 2);
  append(answer, 1, 2);
  append(answer, count, 2);
  append(answer, 0, 4);
  return answer + question.message.substr(header_size) + records;
}

}  // namespace cl
