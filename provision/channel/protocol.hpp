#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

/// What the host and the agent in the guest say to each other (docs/agent.md): the bytes, without any I/O. Compiled
/// into both ends; so no Boost and no exceptions here.
namespace cl::agent {

inline constexpr int protocol = 1;

/// On the wire the value is the character: a trace can be read. "host" and "agent" say who sends it.
enum class Kind : char {
  hello = 'h',     ///< both: begins a session
  open = 'o',      ///< host: SERVICE and its arguments; begins a stream
  accepted = 'a',  ///< agent: it is connected
  refused = 'r',   ///< agent: it is not; payload says why. Ends the stream
  data = 'd',      ///< both: bytes, or one message; costs credit
  credit = 'c',    ///< both: payload is a number: so much more may be sent
  end = 'e',       ///< both: of this direction. After both the stream is over
  reset = 'x',     ///< both: the stream is gone; payload may say why. Not answered
  unknown = 'u',   ///< both: payload is the kind of a frame that was not understood
  pause = 'p',     ///< host: the last frame before its transport ends
  paused = 'q',    ///< agent: likewise
  go_on = 'g',     ///< host, over another transport: both continue
};

/// Whether this side of the code knows the kind; others are answered by `unknown`.
bool is_known(Kind kind) noexcept;

struct Frame {
  Kind kind = Kind::data;
  std::uint32_t stream = 0;  ///< 0 for those that concern no stream
  std::string_view payload;
};

inline constexpr std::size_t header_size = 8;
/// What a frame is longer than its payload.
inline constexpr std::size_t overhead = header_size + 1;
/// Data of a byte stream and messages of services: with it a frame is what a virtio-serial port takes in one write.
inline constexpr std::size_t most_data = 32 * 1024 - overhead;
/// In any frame: the largest UDP datagram.
inline constexpr std::size_t most_payload = 65527;
/// In a frame that is no data.
inline constexpr std::size_t most_text = 4096;
inline constexpr std::size_t most_streams = 16384;

/// No kind. An agent that begins on a port says so by `fresh_size` bytes of it, whatever a killed one left half said: a
/// port does not tell the host that its other end was closed and opened again.
inline constexpr Kind fresh{'\0'};
inline constexpr std::size_t fresh_size = most_payload + 2 * overhead;

/// Credit that a stream begins with, told in the hello by who receives.
inline constexpr std::uint32_t usual_window = 256 * 1024;
inline constexpr std::uint32_t smallest_window = 128 * 1024;  ///< a datagram fits
inline constexpr std::uint32_t largest_window = 16 * 1024 * 1024;

/// Writes the header of a frame into `to`, header_size bytes, for who has the payload elsewhere.
void put_header(char* to, Kind kind, std::uint32_t stream, std::size_t length) noexcept;
inline constexpr char last_byte = '\n';

void append_frame(std::string& to, Kind kind, std::uint32_t stream, std::string_view payload = {});
/// The payload of `credit`.
std::string credit_payload(std::uint32_t number);

// What hellos and the arguments of services are made of.

/// Takes the first word and the space behind it off `text`.
std::string_view take_word(std::string_view& text) noexcept;
/// Whether the whole word is such a number.
template <class Number>
bool read_number(std::string_view word, Number& number) noexcept {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  return error == std::errc() && end == word.data() + word.size();
}
/// Nothing when it is none.
std::optional<std::uint32_t> read_credit(std::string_view payload) noexcept;

/// Both ends' first frame. Its form is the same in every protocol.
struct Hello {
  int protocol = agent::protocol;
  std::string nonce;  ///< 32 hexadecimal digits, of the host's choice
  std::uint32_t window = usual_window;
  std::string build;  ///< of the agent, or the one that the host would install
  std::string words;  ///< the agent's: its architecture, and the services that it has
  bool operator==(const Hello&) const = default;
};

void append_hello(std::string& to, const Hello& hello);
/// Of a hello's payload; nothing when it is none.
std::optional<Hello> read_hello(std::string_view payload);
/// Whether `word` is one of the hello's last.
bool has_word(const Hello& hello, std::string_view word) noexcept;

/// Takes whole frames off the front of received bytes, which its user keeps. It has no memory of its own, so it does
/// not matter how the bytes were cut.
class FrameDecoder {
 public:
  enum class Result {
    frame,   ///< there is one; its payload points into the bytes
    more,    ///< more bytes are needed
    broken,  ///< these are no frames: see why(). From here on it looks for a hello
  };
  /// Moves past what it takes. At first, and after broken or seek(), everything up to a hello is passed over.
  Result next(std::string_view& bytes, Frame& frame) noexcept;
  /// From here on it looks for a hello.
  void seek() noexcept;
  bool seeking() const noexcept { return seeking_; }
  /// Bytes that were passed over since it began to look.
  std::size_t passed() const noexcept { return passed_; }
  const char* why() const noexcept { return why_; }

 private:
  Result find_hello(std::string_view& bytes, Frame& frame) noexcept;
  Result broken(const char* why) noexcept;

  bool seeking_ = true;
  std::size_t passed_ = 0;
  const char* why_ = "";
};

/// What may be sent in one direction of a stream, as its sender counts.
class Credit {
 public:
  explicit Credit(std::uint32_t window) noexcept : window_(window), left_(window) {}
  /// Payload of the next frame at most; 0 = wait for credit.
  std::size_t payload() const noexcept { return left_ > overhead ? left_ - overhead : 0; }
  void spend(std::size_t payload) noexcept { left_ -= static_cast<std::uint32_t>(payload + overhead); }
  /// False when that is more than there was ever given.
  [[nodiscard]] bool add(std::uint32_t more) noexcept;

 private:
  std::uint32_t window_, left_;
};

/// The same direction, as its receiver counts.
class Window {
 public:
  explicit Window(std::uint32_t size) noexcept : size_(size), left_(size) {}
  /// A frame of data has come. False when the sender had no credit for it.
  [[nodiscard]] bool receive(std::size_t payload) noexcept;
  /// So many bytes of payload have been handed on. Returns the credit to be told now, or 0.
  std::uint32_t hand_on(std::size_t payload) noexcept;

 private:
  std::uint32_t size_, left_, owed_ = 0;
};

}  // namespace cl::agent
