#include "src/rpc/message.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace cl::rpc {
namespace {

constexpr std::size_t frame_header = 5;

std::string text_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) throw std::runtime_error("no text '" + std::string(key) + "'");
  return std::string(value->get_string());
}

json::object parse_line(std::string_view line) {
  return json::parse(json::string_view(line.data(), line.size())).as_object();
}

Error nonsense(std::string_view who, const std::exception& error) {
  return Error(Errc::protocol, "the " + std::string(who) + " said something that cannot be understood",
               "if colima-like was just updated, run 'colima-like restart'")
      .because(error.what());
}

}  // namespace

std::string encode(const Request& request) {
  return json::serialize(json::object{{"verb", request.verb}, {"arguments", request.arguments}});
}

std::string encode(const Answer& answer) {
  json::object line;
  if (const auto* progress = std::get_if<Progress>(&answer)) {
    line["progress"] = json::object{{"phase", progress->phase},
                                    {"text", progress->text},
                                    {"done", progress->done},
                                    {"elapsed_ms", progress->elapsed.count()}};
  } else if (const auto* result = std::get_if<json::object>(&answer)) {
    line["result"] = *result;
  } else {
    const auto& error = std::get<Error>(answer);
    line["error"] = json::object{{"code", to_string(error.code())},
                                 {"what", error.what()},
                                 {"cause", error.cause()},
                                 {"remedy", error.remedy()}};
  }
  return json::serialize(line);
}

Request decode_request(std::string_view line) {
  try {
    const json::object object = parse_line(line);
    return Request{text_of(object, "verb"), object.at("arguments").as_object()};
  } catch (const std::exception& error) {
    throw nonsense("command line", error);
  }
}

Answer decode_answer(std::string_view line) {
  try {
    const json::object object = parse_line(line);
    if (const json::value* told = object.if_contains("progress")) {
      const json::object& fields = told->as_object();
      Progress progress;
      progress.phase = text_of(fields, "phase");
      progress.text = text_of(fields, "text");
      progress.done = fields.at("done").as_bool();
      progress.elapsed = std::chrono::milliseconds(fields.at("elapsed_ms").to_number<std::int64_t>());
      return progress;
    }
    if (const json::value* failed = object.if_contains("error")) {
      const json::object& fields = failed->as_object();
      Error error(errc_from_string(text_of(fields, "code")), text_of(fields, "what"), text_of(fields, "remedy"));
      return error.because(text_of(fields, "cause"));
    }
    return object.at("result").as_object();
  } catch (const std::exception& error) {
    throw nonsense("daemon", error);
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
