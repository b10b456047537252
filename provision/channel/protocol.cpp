#include "provision/channel/protocol.hpp"

#include <algorithm>
#include <cstring>

namespace cl::agent {
namespace {

constexpr std::string_view greeting = "colima-like agent ";
constexpr char last_byte_of_hello = '\r';
constexpr std::size_t most_hello = 1024;
constexpr std::size_t nonce_size = 32;

std::uint32_t number_at(std::string_view from, std::size_t at, int bytes) noexcept {
  std::uint32_t number = 0;
  for (int i = 0; i < bytes; ++i) number = number << 8 | static_cast<unsigned char>(from[at++]);
  return number;
}

}  // namespace

std::string_view take_word(std::string_view& text) noexcept {
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(std::min(text.size(), word.size() + 1));
  return word;
}

bool is_known(Kind kind) noexcept {
  return std::string_view("hoardcexupqg").find(static_cast<char>(kind)) != std::string_view::npos;
}

void put_header(char* to, Kind kind, std::uint32_t stream, std::size_t length) noexcept {
  to[0] = static_cast<char>(kind);
  for (int i = 0; i < 3; ++i) to[1 + i] = static_cast<char>(length >> (16 - 8 * i) & 0xff);
  for (int i = 0; i < 4; ++i) to[4 + i] = static_cast<char>(stream >> (24 - 8 * i) & 0xff);
}

void append_frame(std::string& to, Kind kind, std::uint32_t stream, std::string_view payload) {
  char header[header_size];
  put_header(header, kind, stream, payload.size());
  to.append(header, header_size);
  to += payload;
  to += last_byte;
}

std::string credit_payload(std::uint32_t number) {
  std::string payload;
  for (const int shift : {24, 16, 8, 0}) payload += static_cast<char>(number >> shift & 0xff);
  return payload;
}

std::optional<std::uint32_t> read_credit(std::string_view payload) noexcept {
  if (payload.size() != 4) return std::nullopt;
  return number_at(payload, 0, 4);
}

void append_hello(std::string& to, const Hello& hello) {
  std::string payload(greeting);
  payload +=
      std::to_string(hello.protocol) + " " + hello.nonce + " " + std::to_string(hello.window) + " " + hello.build;
  if (!hello.words.empty()) payload += " " + hello.words;
  // No byte of it may look like the last one of a frame, not even of its length.
  if ((payload.size() & 0xff) == last_byte) payload += ' ';
  append_frame(to, Kind::hello, 0, payload);
  to.back() = last_byte_of_hello;
}

std::optional<Hello> read_hello(std::string_view payload) {
  if (!payload.starts_with(greeting) || payload.size() > most_hello) return std::nullopt;
  payload.remove_prefix(greeting.size());
  Hello hello;
  if (!read_number(take_word(payload), hello.protocol)) return std::nullopt;
  hello.nonce = take_word(payload);
  if (hello.nonce.size() != nonce_size || hello.nonce.find_first_not_of("0123456789abcdef") != std::string::npos)
    return std::nullopt;
  if (!read_number(take_word(payload), hello.window)) return std::nullopt;
  if (hello.window < smallest_window || hello.window > largest_window) return std::nullopt;
  hello.build = take_word(payload);
  while (payload.ends_with(' ')) payload.remove_suffix(1);
  hello.words = payload;
  return hello;
}

bool has_word(const Hello& hello, std::string_view word) noexcept {
  for (std::string_view rest = hello.words; !rest.empty();)
    if (take_word(rest) == word) return true;
  return false;
}

void FrameDecoder::seek() noexcept {
  seeking_ = true;
  passed_ = 0;
}

FrameDecoder::Result FrameDecoder::broken(const char* why) noexcept {
  why_ = why;
  seek();
  return Result::broken;
}

FrameDecoder::Result FrameDecoder::find_hello(std::string_view& bytes, Frame& frame) noexcept {
  for (;;) {
    // A hello's text tells where its header is.
    const std::size_t text = bytes.size() < header_size ? std::string_view::npos : bytes.find(greeting, header_size);
    const std::size_t useless = text != std::string_view::npos
                                    ? text - header_size
                                    : bytes.size() - std::min(bytes.size(), header_size + greeting.size() - 1);
    passed_ += useless;
    bytes.remove_prefix(useless);
    if (text == std::string_view::npos) return Result::more;
    const std::size_t length = number_at(bytes, 1, 3);
    if (bytes[0] == static_cast<char>(Kind::hello) && length <= most_hello && number_at(bytes, 4, 4) == 0) {
      if (bytes.size() < length + overhead) return Result::more;
      const std::string_view payload = bytes.substr(header_size, length);
      if (bytes[header_size + length] == last_byte_of_hello && read_hello(payload)) {
        frame = {Kind::hello, 0, payload};
        bytes.remove_prefix(length + overhead);
        seeking_ = false;
        return Result::frame;
      }
    }
    ++passed_;
    bytes.remove_prefix(1);
  }
}

FrameDecoder::Result FrameDecoder::next(std::string_view& bytes, Frame& frame) noexcept {
  if (seeking_) return find_hello(bytes, frame);
  if (bytes.size() < header_size) return Result::more;
  const Kind kind = static_cast<Kind>(bytes[0]);
  if (kind == fresh) return broken("it was started anew");
  const std::size_t length = number_at(bytes, 1, 3);
  if (length > (kind == Kind::data ? most_payload : most_text)) return broken("a frame that is too long");
  if (bytes.size() < length + overhead) return Result::more;
  const char last = bytes[header_size + length];
  if (last != (kind == Kind::hello ? last_byte_of_hello : last_byte)) return broken("a frame that has no end");
  frame = {kind, number_at(bytes, 4, 4), bytes.substr(header_size, length)};
  if (kind == Kind::hello && (frame.stream != 0 || !read_hello(frame.payload))) return broken("a hello that is none");
  bytes.remove_prefix(length + overhead);
  return Result::frame;
}

bool Credit::add(std::uint32_t more) noexcept {
  if (more > window_ - left_) return false;
  left_ += more;
  return true;
}

bool Window::receive(std::size_t payload) noexcept {
  if (payload + overhead > left_) return false;
  left_ -= static_cast<std::uint32_t>(payload + overhead);
  owed_ += overhead;
  return true;
}

std::uint32_t Window::hand_on(std::size_t payload) noexcept {
  owed_ += static_cast<std::uint32_t>(payload);
  if (owed_ < size_ / 4) return 0;
  const std::uint32_t now = owed_;
  left_ += now;
  owed_ = 0;
  return now;
}

}  // namespace cl::agent
