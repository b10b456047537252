#include "docker/api.hpp"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/json/parse.hpp>
#include <string_view>

namespace cl::docker {
namespace {

namespace http = boost::beast::http;
namespace json = boost::json;
using Parser = http::response_parser<http::string_body>;

// Real answers: about 300 bytes of headers, 1.5 KiB of body.
constexpr std::uint32_t header_limit = 16 * 1024;
constexpr std::uint64_t body_limit = 1024 * 1024;
constexpr std::size_t read_size = 4096;
constexpr std::size_t json_depth = 16;

constexpr const char* engine_remedy = "see the engine's log with 'colima-like ssh -- sudo journalctl -u docker'";

Error nonsense(std::string_view request, std::string_view cause) {
  return Error(Errc::protocol, "the answer to " + std::string(request) + " is not a Docker engine's", engine_remedy)
      .because(cause);
}

json::value parse_json(const std::string& text, error_code& ec) {
  json::parse_options options;
  options.max_depth = json_depth;
  return json::parse(text, ec, {}, options);
}

/// What the engine says in an error's body, {"message": "..."}, or the body itself cut to one readable line.
std::string message_of(const std::string& body) {
  error_code ec;
  const json::value value = parse_json(body, ec);
  if (!ec && value.is_object())
    if (const json::value* message = value.get_object().if_contains("message"); message && message->is_string())
      return std::string(message->get_string());
  std::string line;
  for (const char c : body.substr(0, 200)) line += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  return line;
}

/// The parser wants a whole header before it judges: a peer that greets and waits would not be noticed.
bool may_become_http(std::string_view begin) {
  constexpr std::string_view word = "HTTP/1.";
  const auto count = std::min(begin.size(), word.size());
  return begin.substr(0, count) == word.substr(0, count);
}

/// Reads one response. Bytes past its end would be a second answer that nobody asked for.
asio::awaitable<void> read_response(ByteStream& engine, Parser& parser, std::string_view request) {
  boost::beast::flat_buffer buffer(header_limit + read_size);
  bool any = false;
  while (!parser.is_done()) {
    error_code ec;
    const auto space = buffer.prepare(read_size);
    const std::size_t got = co_await engine.read_some({static_cast<char*>(space.data()), space.size()});
    if (got == 0) {
      if (!any)
        throw Error(Errc::guest_failed,
                    "the Docker engine closed the connection without an answer to " + std::string(request),
                    engine_remedy);
      parser.put_eof(ec);  // fine for an answer whose end is the connection's end
      if (!ec && parser.is_done()) break;
      throw nonsense(request, "it ends in the middle");
    }
    any = true;
    buffer.commit(got);
    const std::string_view unread(static_cast<const char*>(buffer.data().data()), buffer.size());
    if (!parser.got_some() && !may_become_http(unread)) throw nonsense(request, "it is no HTTP");
    // With eager(true) one call takes what it can; it wants another only after a complete header.
    while (buffer.size() > 0 && !parser.is_done()) {
      const std::size_t used = parser.put(buffer.data(), ec);
      buffer.consume(used);
      if (ec == http::error::need_more) break;
      if (ec) throw nonsense(request, ec.message());
      if (used == 0) break;
    }
  }
  if (buffer.size() > 0) throw nonsense(request, "more bytes follow it");
}

/// The body of the answer to GET `target`.
asio::awaitable<std::string> get(ByteStream& engine, std::string_view target) {
  const std::string request = "GET " + std::string(target);
  const std::string head = request + " HTTP/1.1\r\nHost: docker\r\nUser-Agent: colima-like\r\nAccept: */*\r\n\r\n";
  co_await engine.write(head);
  Parser parser;
  parser.header_limit(header_limit);
  parser.body_limit(body_limit);
  parser.eager(true);
  co_await read_response(engine, parser, request);
  const auto& response = parser.get();
  if (response.result_int() != 200)
    throw Error(Errc::guest_failed,
                "the Docker engine answered " + request + " with status " + std::to_string(response.result_int()),
                engine_remedy)
        .because(message_of(response.body()));
  co_return response.body();
}

std::string text(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) throw nonsense("GET /version", "it lacks " + std::string(key));
  return std::string(value->get_string());
}

}  // namespace

asio::awaitable<void> ping(ByteStream& engine) {
  const std::string body = co_await get(engine, "/_ping");
  if (body != "OK") throw nonsense("GET /_ping", "it says '" + message_of(body) + "'");
}

asio::awaitable<Version> version(ByteStream& engine) {
  const std::string body = co_await get(engine, "/version");
  error_code ec;
  const json::value value = parse_json(body, ec);
  if (ec) throw nonsense("GET /version", ec.message());
  if (!value.is_object()) throw nonsense("GET /version", "it is no JSON object");
  const json::object& object = value.get_object();
  Version found{text(object, "Version"), text(object, "ApiVersion"), text(object, "Os"), text(object, "Arch")};
  co_return found;
}

}  // namespace cl::docker
