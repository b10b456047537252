#include "src/rpc/message.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace cl::rpc {
namespace {

constexpr std::size_t frame_header = 5;

/// An Error as it travels.
struct Failure {
  std::string code, what, cause, remedy;

  static constexpr auto fields() {
    return std::tuple(Field{"code", &Failure::code}, Field{"what", &Failure::what, true},
                      Field{"cause", &Failure::cause}, Field{"remedy", &Failure::remedy});
  }
};

/// What every line of the daemon's has beside its body.
struct Envelope {
  std::string version;
  std::vector<std::string> ignored;

  static constexpr auto fields() {
    return std::tuple(Field{"version", &Envelope::version}, Field{"ignored", &Envelope::ignored});
  }
};

template <class Struct>
Struct read_body(const json::value& value) {
  Struct body;
  read(value, body);
  return body;
}

/// The body of a line that has exactly one of the three.
Answer body_of(const json::object& line) {
  try {
    if (const json::value* told = line.if_contains("progress")) return read_body<Progress>(*told);
    if (const json::value* failed = line.if_contains("error")) {
      const auto failure = read_body<Failure>(*failed);
      return Error(errc_from_string(failure.code), failure.what, failure.remedy).because(failure.cause);
    }
    if (const json::value* result = line.if_contains("result")) {
      if (!result->is_object()) throw FieldError("'result' must be an object, and is " + std::string(kind_of(*result)));
      return result->get_object();
    }
  } catch (const FieldError& error) {
    throw std::runtime_error(std::string("of its answer ") + error.what());
  }
  throw std::runtime_error("it is neither progress, nor a result, nor an error");
}

std::string encode_any(const Answer& answer) {
  json::object line = to_object(Envelope{answer.version, answer.ignored});
  if (answer.ignored.empty()) line.erase("ignored");
  if (const auto* progress = std::get_if<Progress>(&answer.body)) {
    line["progress"] = write(*progress);
  } else if (const auto* result = std::get_if<json::object>(&answer.body)) {
    line["result"] = *result;
  } else {
    const auto& error = std::get<Error>(answer.body);
    line["error"] = write(Failure{std::string(to_string(error.code())), error.what(), error.cause(), error.remedy()});
  }
  return json::serialize(line);
}

}  // namespace

json::object parse_line(std::string_view line) {
  const json::value value = json::parse(json::string_view(line.data(), line.size()));
  if (!value.is_object()) throw std::runtime_error("it is " + std::string(kind_of(value)));
  return value.get_object();
}

std::string encode(const Answer& answer) {
  std::string line = encode_any(answer);
  if (line.size() <= max_line) return line;
  return encode_any(Error(Errc::internal, "the daemon's answer is longer than a line may be"));
}

Answer decode_answer(std::string_view line) {
  try {
    const json::object object = parse_line(line);
    Answer answer = body_of(object);
    Envelope envelope = from_object<Envelope>(object);
    answer.version = std::move(envelope.version);
    answer.ignored = std::move(envelope.ignored);
    return answer;
  } catch (const std::exception& error) {
    throw Error(Errc::protocol, "the daemon said something that cannot be understood",
                "if colima-like was just updated, run 'colima-like restart'")
        .because(error.what());
  }
}

std::string encode(const Frame& frame) {
  const auto size = static_cast<std::uint32_t>(frame.payload.size());
  std::string bytes{static_cast<char>(frame.kind), static_cast<char>(size >> 24), static_cast<char>(size >> 16),
                    static_cast<char>(size >> 8), static_cast<char>(size)};
  return bytes += frame.payload;
}

std::optional<Frame> take_frame(std::string& buffer) {
  if (buffer.size() < frame_header) return std::nullopt;
  if (std::string_view("iewrox").find(buffer[0]) == std::string_view::npos)
    throw Error(Errc::protocol, "an exec session carried an unknown frame");
  std::size_t size = 0;
  for (std::size_t i = 1; i < frame_header; ++i) size = (size << 8) | static_cast<unsigned char>(buffer[i]);
  if (size > max_payload) throw Error(Errc::protocol, "an exec session carried a frame that is too large");
  if (buffer.size() < frame_header + size) return std::nullopt;
  Frame frame{static_cast<Frame::Kind>(buffer[0]), buffer.substr(frame_header, size)};
  buffer.erase(0, frame_header + size);
  return frame;
}

}  // namespace cl::rpc
