#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "src/base/error.hpp"

/// What the CLI and the daemon say to each other; docs/protocols.md shows it on the wire.
/// One connection = one request line, any number of progress lines, one answer line (a result or an error).
/// A request "exec" goes on with frames after an empty result.
namespace cl::rpc {

namespace json = boost::json;

/// Of one line, both ways.
inline constexpr std::size_t max_line = 1 << 20;

struct Request {
  std::string verb;
  json::object arguments;
};

/// One phase of a start or stop. The same phase may be told again with a newer text.
struct Progress {
  std::string phase;  ///< stable id: "image", "boot", "ssh", ...
  std::string text;   ///< what is being done, for people
  bool done = false;
  std::chrono::milliseconds elapsed{0};  ///< since the phase began
};

using Answer = std::variant<Progress, json::object, Error>;

/// Without the newline.
std::string encode(const Request& request);
std::string encode(const Answer& answer);

/// Throw Error{protocol} on anything that is not what they name.
Request decode_request(std::string_view line);
Answer decode_answer(std::string_view line);

/// A piece of an exec session: one kind byte, payload length as 4 bytes big endian, payload.
struct Frame {
  enum class Kind : char {
    input = 'i',      ///< CLI -> daemon: bytes for stdin
    input_end = 'e',  ///< CLI -> daemon: stdin ended
    resize = 'w',     ///< CLI -> daemon: "COLUMNS ROWS"
    output = 'o',     ///< daemon -> CLI: stdout
    errors = 'r',     ///< daemon -> CLI: stderr
    exit = 'x'        ///< daemon -> CLI: the exit code in decimal; the last frame
  };
  Kind kind = Kind::input;
  std::string payload;
};

inline constexpr std::size_t max_payload = 256 * 1024;

std::string encode(const Frame& frame);

/// Takes one whole frame off the front of `buffer`, or nothing when it is still incomplete.
/// Throws Error{protocol} for an unknown kind or a payload over max_payload.
std::optional<Frame> take_frame(std::string& buffer);

}  // namespace cl::rpc
