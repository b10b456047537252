#include "src/egress/dns_message.hpp"

#include <gtest/gtest.h>

namespace cl::test {
namespace {

using namespace std::string_literals;

std::string query(const std::string& name, char type = 1, const std::string& flags = "\x01\x20"s, char questions = 1) {
  return "ID"s + flags + "\0"s + questions + "\0\0\0\0\0\0"s + name + "\0"s + type + "\0\x01"s;
}
const std::string example =
    "\x03www\x07"
    "Example\x03"
    "org\0"s;

TEST(DnsMessage, AQuestionIsRead) {
  const auto question = read_dns_question(query(example) + "more, such as EDNS");
  ASSERT_TRUE(question);
  EXPECT_EQ(question->name, "www.example.org");
  EXPECT_TRUE(question->is_a());
  EXPECT_EQ(question->message, query(example));
  EXPECT_FALSE(read_dns_question(query(example, 28)).value().is_a());
}

TEST(DnsMessage, WhatIsNoneIsPassedOver) {
  const std::string good = query(example);
  for (std::size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(read_dns_question(good.substr(0, size))) << size;
  EXPECT_FALSE(read_dns_question(query(example, 1, "\x81\x80"s))) << "an answer";
  EXPECT_FALSE(read_dns_question(query(example, 1, "\x28\0"s))) << "an update";
  EXPECT_FALSE(read_dns_question(query(example, 1, "\x01\0"s, 2))) << "two questions";
  EXPECT_FALSE(read_dns_question(query("\xc0\x0c"s))) << "a name that points to itself";
  EXPECT_FALSE(
      read_dns_question(query("\x03"
                              "a.b\0"s)))
      << "a dot inside a label";
  EXPECT_FALSE(
      read_dns_question(query("\x03"
                              "a\0b\0"s)))
      << "a zero inside a label";
  EXPECT_FALSE(read_dns_question(query("\0"s))) << "the root";
  std::string endless;
  for (int i = 0; i < 5; ++i) endless += "\x3f" + std::string(63, 'a');
  EXPECT_FALSE(read_dns_question(query(endless + "\0"s)));
  std::string other_class = good;
  other_class.back() = 3;
  EXPECT_FALSE(read_dns_question(other_class));
}

TEST(DnsMessage, WhatIsNotUnderstoodIsToldSo) {
  EXPECT_EQ(dns_format_error(query("\x03"
                                   "a.b\0"s)),
            "ID\x81\x81\0\0\0\0\0\0\0\0"s);
  EXPECT_EQ(dns_format_error("short"), "");
  EXPECT_EQ(dns_format_error(query(example, 1, "\x81\x80"s)), "") << "nobody asks";
}

TEST(DnsMessage, AnswersRepeatTheQuestion) {
  const DnsQuestion question = read_dns_question(query(example)).value();
  const std::string asked = query(example).substr(12);
  EXPECT_EQ(dns_answer(question, DnsResult::ok, {boost::asio::ip::make_address("198.18.0.7")}, 10),
            "ID\x81\x80\0\x01\0\x01\0\0\0\0"s + asked + "\xc0\x0c\0\x01\0\x01\0\0\0\x0a\0\x04\xc6\x12\0\x07"s);
  EXPECT_EQ(dns_answer(question, DnsResult::no_such_name), "ID\x81\x83\0\x01\0\0\0\0\0\0"s + asked);
}

TEST(DnsMessage, AnswersHaveTheAddressesOfTheTypeAskedFor) {
  const std::vector both{boost::asio::ip::make_address("10.1.2.3"), boost::asio::ip::make_address("fd00::7")};
  const DnsQuestion of_v6 = read_dns_question(query(example, 28)).value();
  EXPECT_EQ(dns_answer(of_v6, DnsResult::ok, both, 1).substr(of_v6.message.size()),
            "\xc0\x0c\0\x1c\0\x01\0\0\0\x01\0\x10\xfd"s + std::string(14, '\0') + "\x07");
  const DnsQuestion of_text = read_dns_question(query(example, 16)).value();
  EXPECT_EQ(dns_answer(of_text, DnsResult::ok, both, 1).size(), of_text.message.size());
  const std::vector many(100, both.front());
  const std::string full = dns_answer(read_dns_question(query(example)).value(), DnsResult::ok, many, 1);
  EXPECT_LE(full.size(), 512U);
  EXPECT_EQ((full.size() - query(example).size()) / 16, static_cast<unsigned char>(full[7])) << "so many are told";
}

}  // namespace
}  // namespace cl::test
