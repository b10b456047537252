#include "provision/channel/frame.hpp"

#include <algorithm>

#include "src/base/error.hpp"

namespace cl::mux {
namespace {

bool known(char type) { return std::string_view("oaredxcpqg").find(type) != std::string_view::npos; }

std::uint32_t number_at(std::string_view from, std::size_t at, int bytes) {
  std::uint32_t number = 0;
  for (int i = 0; i < bytes; ++i) number = number << 8 | static_cast<unsigned char>(from[at++]);
  return number;
}

}  // namespace

void append_number(std::string& to, std::uint32_t number) {
  for (const int shift : {24, 16, 8, 0}) to += static_cast<char>(number >> shift & 0xff);
}

void append_header(std::string& to, std::uint32_t stream, FrameType type, std::size_t length) {
  append_number(to, stream);
  append_number(to, static_cast<std::uint32_t>(static_cast<unsigned char>(type)) << 24 |
                        (static_cast<std::uint32_t>(length) & 0xffffff));
}

std::optional<std::uint32_t> read_number(std::string_view payload) noexcept {
  if (payload.size() != 4) return std::nullopt;
  return number_at(payload, 0, 4);
}

std::optional<Frame> FrameDecoder::next(std::string_view& bytes) {
  auto take = [&bytes](std::size_t most) {
    const std::string_view taken = bytes.substr(0, most);
    bytes.remove_prefix(taken.size());
    return taken;
  };
  if (!inside_) {
    header_ += take(header_size - header_.size());
    if (header_.size() < header_size) return std::nullopt;
    const char type = header_[4];
    if (!known(type)) throw Error(Errc::protocol, "the data channel's other end speaks nonsense");
    frame_.stream = number_at(header_, 0, 4);
    frame_.type = static_cast<FrameType>(type);
    left_ = number_at(header_, 5, 3);
    if (left_ > (frame_.type == FrameType::data ? turn : longest_text))
      throw Error(Errc::protocol, "the data channel's other end sends a frame that is too long");
    header_.clear();
    text_.clear();
    inside_ = true;
  }
  const std::string_view piece = take(left_);
  left_ -= piece.size();
  inside_ = left_ > 0;
  if (frame_.type == FrameType::data) {
    if (piece.empty() && inside_) return std::nullopt;
    frame_.payload = piece;
    return frame_;
  }
  if (inside_ || !text_.empty()) {
    text_ += piece;
    if (inside_) return std::nullopt;
    frame_.payload = text_;
  } else {
    frame_.payload = piece;
  }
  return frame_;
}

bool WordFinder::look(std::string_view& bytes) {
  // Of what came before, only what can be the word's beginning; so the word ends inside `bytes`.
  const std::size_t kept = tail_.size();
  tail_ += bytes;
  const std::size_t at = tail_.find(word_);
  if (at != std::string::npos) {
    dropped_ += at;
    bytes.remove_prefix(at + word_.size() - kept);
    return true;
  }
  const std::size_t useless = tail_.size() - std::min(tail_.size(), word_.size() - 1);
  dropped_ += useless;
  tail_.erase(0, useless);
  bytes = {};
  return false;
}

}  // namespace cl::mux
