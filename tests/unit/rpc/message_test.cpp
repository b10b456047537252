#include "src/rpc/message.hpp"

#include <gtest/gtest.h>

namespace cl::rpc {
namespace {

TEST(Message, AnErrorTravelsWithCodeCauseAndRemedy) {
  const Error error = Error(Errc::guest_failed, "it broke", "mend it").because("of \"this\"\nand that");
  const Answer back = decode_answer(encode(Answer(error)));
  ASSERT_TRUE(std::holds_alternative<Error>(back.body));
  const auto& told = std::get<Error>(back.body);
  EXPECT_EQ(told.code(), Errc::guest_failed);
  EXPECT_STREQ(told.what(), "it broke");
  EXPECT_EQ(told.cause(), "of \"this\"\nand that");
  EXPECT_EQ(told.remedy(), "mend it");
}

TEST(Message, ProgressComesBack) {
  Progress progress{"boot", "starting", true, std::chrono::milliseconds(1234)};
  const Answer back = decode_answer(encode(Answer(progress)));
  ASSERT_TRUE(std::holds_alternative<Progress>(back.body));
  EXPECT_EQ(std::get<Progress>(back.body).elapsed.count(), 1234);
  EXPECT_TRUE(std::get<Progress>(back.body).done);
}

TEST(Message, NeverHoldsANewline) {
  EXPECT_EQ(encode(Answer(Error(Errc::io, "a\nb\r\nc"))).find('\n'), std::string::npos);
}

TEST(Message, NonsenseIsAProtocolError) {
  for (const char* line :
       {"", "{}", "[]", "nonsense", R"({"progress":{}})", R"({"progress":{"phase":1}})", R"({"error":{"code":1}})",
        R"({"error":"x"})", R"({"result":3})", R"({"result":{})", R"({"result":{},"version":1})"}) {
    try {
      decode_answer(line);
      ADD_FAILURE() << "accepted " << line;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::protocol) << line;
    }
  }
}

TEST(Message, SaysTheVersionOfWhoAnswers) {
  const Answer ours = decode_answer(encode(Answer(json::object{{"a", 1}})));
  EXPECT_EQ(ours.version, program_version());
  EXPECT_TRUE(ours.ignored.empty());
  EXPECT_EQ(decode_answer(R"({"result":{}})").version, "") << "a daemon that is older than versions in answers";
  const Answer newer = decode_answer(R"({"result":{},"version":"9","ignored":["cold"],"news":[1]})");
  EXPECT_EQ(newer.version, "9");
  EXPECT_EQ(newer.ignored, std::vector<std::string>{"cold"});
}

TEST(Message, IsUnderstoodWithoutWhatMayBeMissing) {
  const Answer progress = decode_answer(R"({"progress":{"phase":"boot"}})");
  EXPECT_EQ(std::get<Progress>(progress.body).phase, "boot");
  const Answer failed = decode_answer(R"({"error":{"what":"no","code":"of the future"}})");
  EXPECT_EQ(std::get<Error>(failed.body).code(), Errc::internal);
}

TEST(Message, AnAnswerThatIsLongerThanALineBecomesAnError) {
  const Answer answer = decode_answer(encode(Answer(json::object{{"text", std::string(max_line, 'x')}})));
  ASSERT_TRUE(std::holds_alternative<Error>(answer.body));
  EXPECT_EQ(std::get<Error>(answer.body).code(), Errc::internal);
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
