#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "provision/channel/frame.hpp"
#include "src/base/error.hpp"

/// The frames of the data channel, whole and cut anywhere.
namespace cl::mux {
namespace {

std::string frame(std::uint32_t stream, FrameType type, const std::string& payload = {}) {
  std::string bytes;
  append_header(bytes, stream, type, payload.size());
  return bytes + payload;
}

/// What a decoder makes of these pieces: "STREAM TYPE PAYLOAD" each, pieces of data put together.
std::vector<std::string> decoded(const std::vector<std::string>& pieces) {
  FrameDecoder decoder;
  std::vector<std::string> all;
  std::string data_of;
  for (const std::string& piece : pieces) {
    std::string_view rest = piece;
    while (const auto one = decoder.next(rest)) {
      const std::string head = std::to_string(one->stream) + " " + static_cast<char>(one->type) + " ";
      if (one->type == FrameType::data && data_of == head) {
        all.back() += one->payload;
        continue;
      }
      data_of = one->type == FrameType::data ? head : "";
      all.push_back(head + std::string(one->payload));
    }
    EXPECT_TRUE(rest.empty());
  }
  return all;
}

const std::string several = frame(1, FrameType::open, "unix /run/x y") + frame(1, FrameType::data, "hello") +
                            frame(0xfffffffe, FrameType::eof) +
                            frame(7, FrameType::credit, std::string("\0\0\1\2", 4)) + frame(2, FrameType::data, "") +
                            frame(0, FrameType::pause);
const std::vector<std::string> several_decoded{
    "1 o unix /run/x y", "1 d hello", "4294967294 e ", std::string("7 c \0\0\1\2", 8), "2 d ", "0 p "};

TEST(MuxFrame, IsEightBytesOfHeaderAndItsPayload) {
  EXPECT_EQ(frame(0x01020304, FrameType::data, "abc"), std::string("\1\2\3\4d\0\0\3abc", 11));
}

TEST(MuxFrame, ComesOutAsItWentIn) { EXPECT_EQ(decoded({several}), several_decoded); }

TEST(MuxFrame, ComesOutOfSingleBytes) {
  std::vector<std::string> bytes;
  for (const char c : several) bytes.emplace_back(1, c);
  EXPECT_EQ(decoded(bytes), several_decoded);
}

TEST(MuxFrame, ComesOutHoweverTwoPiecesAreCut) {
  for (std::size_t at = 0; at <= several.size(); ++at)
    EXPECT_EQ(decoded({several.substr(0, at), several.substr(at)}), several_decoded) << at;
}

TEST(MuxFrame, ComesOutOfRandomCutsOfRandomFrames) {
  std::mt19937 random(5);
  auto below = [&random](std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random);
  };
  constexpr FrameType types[] = {FrameType::open, FrameType::refused, FrameType::data, FrameType::eof,
                                 FrameType::reset};
  for (int round = 0; round < 200; ++round) {
    std::string bytes;
    std::vector<std::string> expected;
    for (int i = 0; i < 20; ++i) {
      const FrameType type = types[below(std::size(types))];
      const auto stream = static_cast<std::uint32_t>(100 * round + i);
      const std::string payload(below(type == FrameType::data ? turn + 1 : 300), static_cast<char>(below(256)));
      bytes += frame(stream, type, payload);
      expected.push_back(std::to_string(stream) + " " + static_cast<char>(type) + " " + payload);
    }
    std::vector<std::string> pieces;
    while (!bytes.empty()) {
      const std::size_t count = std::min(bytes.size(), 1 + below(below(2) == 0 ? 12 : 20'000));
      pieces.push_back(bytes.substr(0, count));
      bytes.erase(0, count);
    }
    ASSERT_EQ(decoded(pieces), expected) << round;
  }
}

TEST(MuxFrame, IsRefusedWhenItIsNone) {
  for (const std::string& bytes :
       {frame(1, static_cast<FrameType>('z')), frame(1, static_cast<FrameType>(0)),
        frame(1, FrameType::data, std::string(turn + 1, 'x')), frame(1, FrameType::refused, std::string(5000, 'x'))}) {
    FrameDecoder decoder;
    std::string_view rest = bytes;
    EXPECT_THROW(decoder.next(rest), Error);
  }
}

/// Random bytes end in frames or in an error, never in more bytes than there were.
TEST(MuxFrame, StandsRandomBytes) {
  std::mt19937 random(9);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(64, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    for (std::size_t at = 4; at < bytes.size(); at += 16) bytes[at] = "oaredxcpqg"[random() % 10];
    FrameDecoder decoder;
    std::string_view rest = bytes;
    std::size_t payload = 0;
    try {
      while (const auto one = decoder.next(rest)) payload += one->payload.size();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::protocol);
    }
    EXPECT_LE(payload, bytes.size());
  }
}

TEST(MuxFrame, NumbersHaveFourBytes) {
  std::string bytes;
  append_number(bytes, 0x80000001);
  EXPECT_EQ(read_number(bytes), 0x80000001U);
  EXPECT_EQ(read_number("abc"), std::nullopt);
}

TEST(WordFinder, FindsTheWordWhereverItIsCut) {
  const std::string bytes = "rubbish nonnonce more";
  for (std::size_t at = 0; at <= bytes.size(); ++at) {
    WordFinder finder("nonce");
    const std::string first = bytes.substr(0, at), second = bytes.substr(at);
    std::string_view rest = first;
    std::string after;
    bool found = finder.look(rest);
    if (found) after = std::string(rest) + second;
    if (!found) {
      EXPECT_TRUE(rest.empty());
      rest = second;
      found = finder.look(rest);
      after = rest;
    }
    EXPECT_TRUE(found) << at;
    EXPECT_EQ(after, " more") << at;
    EXPECT_EQ(finder.dropped(), 11U) << at;
  }
}

TEST(WordFinder, KeepsNoMoreThanAWord) {
  WordFinder finder("nonce");
  for (int i = 0; i < 1000; ++i) {
    std::string_view bytes = "nonnonnon";
    EXPECT_FALSE(finder.look(bytes));
  }
  EXPECT_EQ(finder.dropped(), 9000U - 4U);
}

}  // namespace
}  // namespace cl::mux
