#include "vm/qemu/qmp_codec.hpp"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <vector>

#include "src/base/error.hpp"

namespace cl {
namespace {

namespace json = boost::json;

std::vector<std::string> decode(std::string_view bytes, std::size_t piece) {
  QmpDecoder decoder;
  std::vector<std::string> messages;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    decoder.feed(bytes.substr(at, piece));
    while (auto message = decoder.next()) messages.push_back(json::serialize(*message));
  }
  return messages;
}

constexpr std::string_view conversation =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 0, \"major\": 10}}, \"capabilities\": [\"oob\"]}}\r\n"
    "{\"return\": {}, \"id\": 1}\r\n"
    "\r\n"
    "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"RESUME\"}\n"
    "{\"id\": 2, \"error\": {\"class\": \"GenericError\", \"desc\": \"a \\n in it, and \\u20ac\"}}\n";

TEST(QmpCodec, ReadsTheSameMessagesHoweverTheBytesAreCut) {
  const auto whole = decode(conversation, conversation.size());
  ASSERT_EQ(whole.size(), 4U);
  EXPECT_EQ(whole[1], R"({"return":{},"id":1})");
  for (std::size_t piece = 1; piece < 40; ++piece) EXPECT_EQ(decode(conversation, piece), whole) << piece;
}

TEST(QmpCodec, KeepsAnUnfinishedMessageForLater) {
  QmpDecoder decoder;
  decoder.feed("{\"return\":");
  EXPECT_FALSE(decoder.next());
  decoder.feed(" 7}");
  EXPECT_FALSE(decoder.next());
  decoder.feed("\n");
  const auto message = decoder.next();
  ASSERT_TRUE(message);
  EXPECT_EQ(message->at("return"), json::value(7));
}

TEST(QmpCodec, RefusesALineThatNeverEnds) {
  QmpDecoder decoder;
  decoder.feed(std::string(QmpDecoder::max_message, 'x'));
  EXPECT_FALSE(decoder.next());
  decoder.feed("x");
  EXPECT_THROW(decoder.next(), Error);
}

TEST(QmpCodec, RefusesALineThatIsTooLongEvenWhenItEnds) {
  QmpDecoder decoder;
  decoder.feed("{\"a\":\"" + std::string(QmpDecoder::max_message, 'x') + "\"}\n");
  EXPECT_THROW(decoder.next(), Error);
}

TEST(QmpCodec, RefusesWhatIsNoObject) {
  for (const std::string_view nonsense : {"SSH-2.0-OpenSSH\n", "[1,2]\n", "{\"a\":1} {\"b\":2}\n", "{\"a\"\n"}) {
    QmpDecoder decoder;
    decoder.feed(nonsense);
    try {
      decoder.next();
      ADD_FAILURE() << "accepted: " << nonsense;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::protocol);
    }
  }
}

TEST(QmpCodec, SurvivesEveryCorruptedByte) {
  for (std::size_t at = 0; at < conversation.size(); ++at) {
    std::string bytes(conversation);
    bytes[at] = static_cast<char>(bytes[at] ^ 0x15);
    QmpDecoder decoder;
    decoder.feed(bytes);
    try {
      while (decoder.next()) continue;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::protocol);
    }
  }
}

TEST(QmpCodec, WritesOneCommandPerLine) {
  EXPECT_EQ(encode_qmp_command("qmp_capabilities", {}, 1), "{\"execute\":\"qmp_capabilities\",\"id\":1}\n");
  json::object arguments;
  arguments["path"] = "a\nb";
  EXPECT_EQ(encode_qmp_command("qom-list", arguments, 2),
            "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"a\\nb\"},\"id\":2}\n");
}

}  // namespace
}  // namespace cl
