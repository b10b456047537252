#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// What is spoken on the data channel beside SSH (docs/protocols.md, "Data channel"): the bytes, without any I/O.
namespace cl::mux {

/// On the wire the value is the character: a trace can be read. "host" and "guest" say who sends it.
enum class FrameType : char {
  open = 'o',     ///< host: payload "unix PATH" or "tcp ADDRESS PORT"; begins the stream
  opened = 'a',   ///< guest: it is connected
  refused = 'r',  ///< guest: it is not; payload says why. Ends the stream
  data = 'd',     ///< both; uses up as much credit as it has bytes
  eof = 'e',      ///< both: the end of this direction. After both the stream has ended
  reset = 'x',    ///< both: the stream is gone, without an answer
  credit = 'c',   ///< both: payload is a number: so many bytes more may be sent
  pause = 'p',    ///< host: the last frame before its transport ends
  paused = 'q',   ///< guest: likewise, after everything that it has sent
  resume = 'g',   ///< host, over another transport: both go on
};

struct Frame {
  std::uint32_t stream = 0;  ///< 0 for those that concern no stream
  FrameType type = FrameType::data;
  std::string_view payload;
};

/// Bytes of a stream that may be sent before credit comes: what a request beside bulk may have to wait behind. An
/// emulated guest on a loaded host takes some 10 MB/s.
inline constexpr std::size_t window = 256 * 1024;
/// Bytes in one frame of data at most: what the others wait for.
inline constexpr std::size_t turn = 32 * 1024;
/// In every other frame.
inline constexpr std::size_t longest_text = 4096;
inline constexpr std::size_t header_size = 8;

/// stream (4 bytes, big endian), type (1), length of the payload (3).
void append_header(std::string& to, std::uint32_t stream, FrameType type, std::size_t length);
void append_number(std::string& to, std::uint32_t number);
/// The payload of `credit`; nothing when it is none.
std::optional<std::uint32_t> read_number(std::string_view payload) noexcept;

/// Takes the frames out of received bytes, however these are cut.
class FrameDecoder {
 public:
  /// Moves past what it takes from the front of `bytes`; nothing when they are used up. Data comes as it is there, a
  /// frame of it in one or several pieces, each a Frame; other frames come whole. The payload is valid until the next
  /// call. Throws Error{protocol} for what is no frame.
  std::optional<Frame> next(std::string_view& bytes);

 private:
  Frame frame_;
  std::string header_;
  std::string text_;      // of a frame that is no data and not yet whole
  std::size_t left_ = 0;  // of the frame's payload
  bool inside_ = false;   // behind the header
};

/// Finds a word in received bytes, and drops what comes before it.
class WordFinder {
 public:
  explicit WordFinder(std::string word) : word_(std::move(word)) {}
  /// True once the word has come: then `bytes` begins behind it. Until then all of `bytes` is taken.
  bool look(std::string_view& bytes);
  std::size_t dropped() const noexcept { return dropped_; }

 private:
  std::string word_, tail_;
  std::size_t dropped_ = 0;
};

}  // namespace cl::mux
