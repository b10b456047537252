#include "src/rpc/message.hpp"

#include <gtest/gtest.h>

namespace cl::rpc {
namespace {

TEST(Message, ARequestComesBack) {
  Request request{"start", json::object{{"cpus", "2"}}};
  const Request back = decode_request(encode(request));
  EXPECT_EQ(back.verb, "start");
  EXPECT_EQ(back.arguments.at("cpus").as_string(), "2");
}

TEST(Message, AnErrorTravelsWithCodeCauseAndRemedy) {
  const Error error = Error(Errc::guest_failed, "it broke", "mend it").because("of \"this\"\nand that");
  const Answer back = decode_answer(encode(Answer(error)));
  ASSERT_TRUE(std::holds_alternative<Error>(back));
  const auto& told = std::get<Error>(back);
  EXPECT_EQ(told.code(), Errc::guest_failed);
  EXPECT_STREQ(told.what(), "it broke");
  EXPECT_EQ(told.cause(), "of \"this\"\nand that");
  EXPECT_EQ(told.remedy(), "mend it");
}

TEST(Message, ProgressComesBack) {
  Progress progress{"boot", "starting", true, std::chrono::milliseconds(1234)};
  const Answer back = decode_answer(encode(Answer(progress)));
  ASSERT_TRUE(std::holds_alternative<Progress>(back));
  EXPECT_EQ(std::get<Progress>(back).elapsed.count(), 1234);
  EXPECT_TRUE(std::get<Progress>(back).done);
}

TEST(Message, NeverHoldsANewline) {
  EXPECT_EQ(encode(Answer(Error(Errc::io, "a\nb\r\nc"))).find('\n'), std::string::npos);
}

TEST(Message, NonsenseIsAProtocolError) {
  for (const char* line :
       {"", "{}", "[]", "{\"verb\":1,\"arguments\":{}}", "{\"verb\":\"x\"}", "nonsense", "{\"verb\""}) {
    try {
      decode_request(line);
      ADD_FAILURE() << "accepted " << line;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::protocol) << line;
    }
  }
  EXPECT_THROW(decode_answer("{\"progress\":{}}"), Error);
  EXPECT_THROW(decode_answer("{\"error\":{\"code\":1}}"), Error);
  EXPECT_THROW(decode_answer("{\"result\":3}"), Error);
}

TEST(Frames, ComeBackWhateverTheSplit) {
  std::string wire;
  for (const char* payload : {"", "x", "hello"}) wire += encode(Frame{Frame::Kind::output, payload});
  wire += encode(Frame{Frame::Kind::exit, "3"});
  std::string buffer;
  std::vector<std::string> got;
  for (const char c : wire) {
    buffer += c;
    while (auto frame = take_frame(buffer)) got.push_back(static_cast<char>(frame->kind) + frame->payload);
  }
  EXPECT_EQ(got, (std::vector<std::string>{"o", "ox", "ohello", "x3"}));
  EXPECT_TRUE(buffer.empty());
}

TEST(Frames, UnknownKindsAndHugePayloadsAreRefused) {
  std::string unknown = "q\0\0\0\0";
  unknown.resize(5);
  EXPECT_THROW(take_frame(unknown), Error);
  std::string huge = "o\x7f\xff\xff\xff";
  EXPECT_THROW(take_frame(huge), Error);
}

}  // namespace
}  // namespace cl::rpc
