#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "src/base/error.hpp"
#include "src/base/version.hpp"
#include "src/rpc/fields.hpp"

/// What the daemon says to the CLI; docs/protocols.md shows it on the wire, and requests.hpp has what is asked for.
/// One connection = one request line, any number of progress lines, one last line (a result or an error).
/// A request "exec" goes on with frames after an empty result.
namespace cl::rpc {

/// Of one line, both ways.
inline constexpr std::size_t max_line = 1 << 20;

/// One phase of a start or stop. The same phase may be told again with a newer text.
struct Progress {
  std::string phase;  ///< stable id: "image", "boot", "ssh", ...
  std::string text;   ///< what is being done, for people
  bool done = false;
  std::chrono::milliseconds elapsed{0};  ///< since the phase began

  static constexpr auto fields() {
    return std::tuple(Field{"phase", &Progress::phase, true}, Field{"text", &Progress::text},
                      Field{"done", &Progress::done}, Field{"elapsed_ms", &Progress::elapsed});
  }
};

/// One line of the daemon's.
struct Answer {
  Answer(Progress progress) : body(std::move(progress)) {}
  Answer(json::object result) : body(std::move(result)) {}
  Answer(Error error) : body(std::move(error)) {}

  std::variant<Progress, json::object, Error> body;
  std::string version{program_version()};  ///< of who answers; empty when it is older than 0.1.0
  std::vector<std::string> ignored;        ///< what of the request is unknown there
};

/// Without the newline. A result that is longer than a line may be becomes an error.
std::string encode(const Answer& answer);

/// Throws Error{protocol} for anything else than an answer.
Answer decode_answer(std::string_view line);

/// The object on a line, by Boost.JSON. Throws std::exception.
json::object parse_line(std::string_view line);

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
