#include "provision/channel/protocol.hpp"

#include <gtest/gtest.h>

namespace cl::agent {
namespace {

using Result = FrameDecoder::Result;

const std::string nonce = "0123456789abcdef0123456789abcdef";

Hello some_hello() {
  Hello hello;
  hello.nonce = nonce;
  hello.build = "build";
  hello.words = "x86_64 unix tcp";
  return hello;
}

/// What a decoder makes of bytes that come `piece` at a time: one line for each frame, "!" and why for what is none.
std::string read(const std::string& bytes, std::size_t piece) {
  FrameDecoder decoder;
  std::string unread, text;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    unread += bytes.substr(at, piece);
    std::string_view rest = unread;
    for (Frame frame;;) {
      const Result result = decoder.next(rest, frame);
      if (result == Result::more) break;
      if (result == Result::broken) text += std::string("!") + decoder.why() + "\n";
      if (result == Result::frame)
        text += std::to_string(frame.stream) + static_cast<char>(frame.kind) + std::string(frame.payload) + "\n";
    }
    unread.erase(0, unread.size() - rest.size());
  }
  return text;
}

/// However the bytes are cut.
std::string read(const std::string& bytes) {
  std::string text = read(bytes, bytes.size() + 1);
  for (const std::size_t piece : {1, 2, 7})
    if (read(bytes, piece) != text) return "in pieces of " + std::to_string(piece) + " it is different";
  return text;
}

std::string hello_bytes(const Hello& hello = some_hello()) {
  std::string bytes;
  append_hello(bytes, hello);
  return bytes;
}

const std::string hello_line = "0hcolima-like agent 1 " + nonce + " 262144 build x86_64 unix tcp\n";

TEST(AgentProtocol, FramesComeWholeHoweverTheyAreCut) {
  std::string bytes = hello_bytes();
  append_frame(bytes, Kind::open, 1, "unix /run/docker.sock");
  append_frame(bytes, Kind::data, 0x01020304, "a\nb");
  append_frame(bytes, Kind::end, 1);
  append_frame(bytes, static_cast<Kind>('Z'), 7, "of a later protocol");
  EXPECT_EQ(read(bytes), hello_line + "1ounix /run/docker.sock\n16909060da\nb\n1e\n7Zof a later protocol\n");
}

TEST(AgentProtocol, WhatIsBeforeAHelloIsPassedOver) {
  std::string bytes = std::string(70'000, 'h') + "\0\0\0colima-like agent " + std::string("hcolima-like agent 1 \n");
  append_frame(bytes, Kind::data, 3, "of an earlier session");
  EXPECT_EQ(read(bytes + hello_bytes()), hello_line);
}

TEST(AgentProtocol, HalfAFrameIsNeverCompletedByTheNextHello) {
  // Whatever is missing of it, which may be as much as a hello has.
  const std::string hello = hello_bytes();
  for (std::size_t missing = 1; missing <= hello.size() + 2; ++missing) {
    std::string bytes = hello_bytes();
    std::string frame;
    append_frame(frame, Kind::data, 1, std::string(200, 'x'));
    bytes += frame.substr(0, frame.size() - missing) + hello + hello;
    const std::string text = read(bytes);
    EXPECT_EQ(text.find("1d"), std::string::npos) << missing << ": " << text;
  }
}

TEST(AgentProtocol, AnAgentThatBeginsAnewIsNoticedWhateverTheOneBeforeHalfSaid) {
  const std::string zeros(fresh_size, static_cast<char>(fresh));
  EXPECT_EQ(read(hello_bytes() + zeros + hello_bytes()), hello_line + "!it was started anew\n" + hello_line);
  std::string frame;
  append_frame(frame, Kind::data, 1, std::string(most_payload, 'x'));
  for (const std::size_t cut : {1U, 2U, 3U, 4U, 5U, 8U, 9U, 1000U, 40'000U, 65'534U, 65'535U}) {
    const std::string text = read(hello_bytes() + frame.substr(0, cut) + zeros + hello_bytes());
    EXPECT_TRUE(text.starts_with(hello_line + "!")) << cut << ": " << text.substr(0, 100);
    EXPECT_TRUE(text.ends_with(hello_line)) << cut;
    EXPECT_EQ(text.find("1d"), std::string::npos) << cut;
  }
}

TEST(AgentProtocol, AHelloHasNothingInItThatEndsAFrame) {
  for (std::size_t words = 0; words < 600; ++words) {
    Hello hello = some_hello();
    hello.words = std::string(words, 'w');
    const std::string bytes = hello_bytes(hello);
    EXPECT_EQ(bytes.find(last_byte), std::string::npos) << words;
    EXPECT_EQ(read_hello(std::string_view(bytes).substr(header_size, bytes.size() - overhead)), hello);
  }
}

TEST(AgentProtocol, AHelloBetweenTwoFramesBeginsAnew) {
  std::string bytes = hello_bytes();
  append_frame(bytes, Kind::open, 1, "echo");
  bytes += hello_bytes();
  append_frame(bytes, Kind::open, 1, "clock");
  EXPECT_EQ(read(bytes), hello_line + "1oecho\n" + hello_line + "1oclock\n");
}

TEST(AgentProtocol, ABrokenFrameIsSaidOnceAndTheNextHelloFound) {
  std::string bytes = hello_bytes();
  append_frame(bytes, Kind::end, 1);
  bytes.back() = 'x';
  append_frame(bytes, Kind::end, 3);
  EXPECT_EQ(read(bytes + hello_bytes()), hello_line + "!a frame that has no end\n" + hello_line);

  bytes = hello_bytes();
  append_frame(bytes, Kind::reset, 1, std::string(most_text + 1, 'y'));
  EXPECT_EQ(read(bytes + hello_bytes()), hello_line + "!a frame that is too long\n" + hello_line);
  bytes = hello_bytes();
  append_frame(bytes, Kind::data, 1, std::string(most_payload + 1, 'y'));
  EXPECT_EQ(read(bytes + hello_bytes()), hello_line + "!a frame that is too long\n" + hello_line);
}

TEST(AgentProtocol, LimitsAreInclusive) {
  std::string bytes = hello_bytes();
  append_frame(bytes, Kind::data, 1, std::string(most_payload, 'd'));
  append_frame(bytes, Kind::open, 3, std::string(most_text, 'o'));
  EXPECT_EQ(read(bytes, bytes.size()),
            hello_line + "1d" + std::string(most_payload, 'd') + "\n3o" + std::string(most_text, 'o') + "\n");
}

TEST(AgentProtocol, BytesWithoutAHelloAreCountedAndNotKept) {
  FrameDecoder decoder;
  Frame frame;
  const std::string junk(100'000, 'c');
  std::string_view rest = junk;
  EXPECT_EQ(decoder.next(rest, frame), Result::more);
  EXPECT_LT(rest.size(), 64U);
  EXPECT_EQ(decoder.passed(), junk.size() - rest.size());
}

TEST(AgentProtocol, HellosThatAreNoneAreRefused) {
  const std::string good = "colima-like agent 1 " + nonce + " 262144 build";
  EXPECT_TRUE(read_hello(good));
  EXPECT_TRUE(read_hello("colima-like agent 2 " + nonce + " 131072 b later words"));  // the form never changes
  EXPECT_FALSE(read_hello("colima-like agent x " + nonce + " 262144 build"));
  EXPECT_FALSE(read_hello("colima-like agent 1 " + nonce.substr(1) + " 262144 build"));
  EXPECT_FALSE(read_hello("colima-like agent 1 " + nonce.substr(1) + "G 262144 build"));
  EXPECT_FALSE(read_hello("colima-like agent 1 " + nonce + " 131071 build"));
  EXPECT_FALSE(read_hello("colima-like agent 1 " + nonce + " 16777217 build"));
  EXPECT_FALSE(read_hello("colima-like agent 1 " + nonce + " -1 build"));
  EXPECT_FALSE(read_hello("colima-like agents 1 " + nonce + " 262144 build"));
  EXPECT_FALSE(read_hello(good + std::string(1024, 'x')));
  EXPECT_FALSE(read_hello(""));
}

TEST(AgentProtocol, WordsOfAHelloAreWhole) {
  const Hello hello = some_hello();
  EXPECT_TRUE(has_word(hello, "unix"));
  EXPECT_TRUE(has_word(hello, "tcp"));
  EXPECT_FALSE(has_word(hello, "tc"));
  EXPECT_FALSE(has_word(hello, "udp"));
}

TEST(AgentProtocol, CreditIsFourBytes) {
  EXPECT_EQ(read_credit(credit_payload(0xfedcba98)), 0xfedcba98);
  EXPECT_FALSE(read_credit("abc"));
  EXPECT_FALSE(read_credit("abcde"));
}

TEST(AgentFlow, CreditCountsWholeFramesAndNeverExceedsTheWindow) {
  Credit credit(1000);
  EXPECT_EQ(credit.payload(), 1000 - overhead);
  credit.spend(500);
  EXPECT_EQ(credit.payload(), 1000 - 500 - 2 * overhead);
  EXPECT_FALSE(credit.add(500 + overhead + 1));
  EXPECT_TRUE(credit.add(500 + overhead));
  credit.spend(credit.payload());
  EXPECT_EQ(credit.payload(), 0U);
}

TEST(AgentFlow, TheReceiverGivesBackInQuartersAndNoticesWhoSendsMore) {
  Window window(1000);
  EXPECT_TRUE(window.receive(200));
  EXPECT_EQ(window.hand_on(100), 0U);
  EXPECT_EQ(window.hand_on(100), 0U);
  EXPECT_TRUE(window.receive(100));
  EXPECT_EQ(window.hand_on(100), 300 + 2 * overhead);
  EXPECT_FALSE(window.receive(1000));
  EXPECT_TRUE(window.receive(1000 - overhead));
}

/// Both ends of a direction, whatever sizes the sender takes: it never stalls for good, and is never refused.
TEST(AgentFlow, NeverStandsStillWhenTheReaderReads) {
  for (std::size_t most : {1, 100, 5000, 32759}) {
    Credit credit(smallest_window);
    Window window(smallest_window);
    for (int i = 0; i < 20'000; ++i) {
      const std::size_t size = std::min(most, credit.payload());
      ASSERT_GT(size, 0U) << most;
      credit.spend(size);
      ASSERT_TRUE(window.receive(size));
      const std::uint32_t more = window.hand_on(size);
      if (more > 0) ASSERT_TRUE(credit.add(more));
    }
  }
}

}  // namespace
}  // namespace cl::agent
