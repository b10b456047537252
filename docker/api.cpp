#include "docker/api.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/json/memory_resource.hpp>
#include <boost/json/parser.hpp>
#include <boost/json/storage_ptr.hpp>
#include <cctype>
#include <optional>
#include <string_view>

#include "src/base/json.hpp"

namespace cl::docker {
namespace {

namespace http = boost::beast::http;
namespace json = boost::json;
using Parser = http::response_parser<http::string_body>;

// Real answers: about 300 bytes of headers, 1.5 KiB of body.
constexpr std::uint32_t header_limit = 16 * 1024;
constexpr std::uint64_t body_limit = 1024 * 1024;
constexpr std::uint64_t list_limit = 8 * 1024 * 1024;  // a container with 10,000 published ports: 2 MiB
/// Of one answer's values. The longest list there may be of real containers takes half of it; `[[],[],...]` would take
/// twenty times its text.
constexpr std::size_t json_memory = 48 * 1024 * 1024;
constexpr std::size_t read_size = 4096;
constexpr std::size_t list_read_size = 64 * 1024;
constexpr std::size_t event_limit = 1024 * 1024;
constexpr std::size_t json_depth = 16;

constexpr const char* engine_remedy = "see the engine's log with 'colima-like ssh -- journalctl -u docker'";

Error nonsense(std::string_view request, std::string_view cause) {
  return Error(Errc::protocol, "the answer to " + std::string(request) + " is not a Docker engine's", engine_remedy)
      .because(cause);
}

/// Memory for the values of one text, up to a limit; then std::bad_alloc.
class Bounded : public json::memory_resource {
  // The alignment is none beyond what every allocation has, and Boost.JSON tells another one when it gives keys back.
  void* do_allocate(std::size_t size, std::size_t) override {
    if (size > left_) throw std::bad_alloc();
    void* const place = ::operator new(size);
    left_ -= size;
    return place;
  }
  void do_deallocate(void* place, std::size_t size, std::size_t) noexcept override {
    ::operator delete(place);
    left_ += size;
  }
  bool do_is_equal(const json::memory_resource& other) const noexcept override { return this == &other; }
  std::size_t left_ = json_memory;
};

json::value parse_json(const std::string& text, error_code& ec) {
  json::parse_options options;
  options.max_depth = json_depth;
  try {
    // Also for what it collects on the way, which json::parse() takes elsewhere.
    const json::storage_ptr memory = json::make_shared_resource<Bounded>();
    json::parser parser(memory, options);
    parser.reset(memory);
    parser.write(text, ec);
    if (ec) return {};
    return parser.release();
  } catch (const std::bad_alloc&) {
    ec = make_error_code(boost::system::errc::not_enough_memory);
    return {};
  }
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

/// The parser needs a whole header before it reports an error, so a peer that only sends a greeting is detected here.
bool may_become_http(std::string_view begin) {
  constexpr std::string_view word = "HTTP/1.";
  const auto count = std::min(begin.size(), word.size());
  return begin.substr(0, count) == word.substr(0, count);
}

/// Reads one response. Bytes after its end are an error: nobody has asked for a second answer.
asio::awaitable<void> read_response(ByteStream& engine, Parser& parser, std::string_view request,
                                    std::size_t at_once = read_size) {
  boost::beast::flat_buffer buffer(header_limit + at_once);
  bool any = false;
  while (!parser.is_done()) {
    error_code ec;
    const auto space = buffer.prepare(at_once);
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

/// `more`: header lines besides those of every request.
std::string head_of(const std::string& request, std::string_view more = {}) {
  return request + " HTTP/1.1\r\nHost: docker\r\nUser-Agent: colima-like\r\nAccept: */*\r\n" + std::string(more) +
         "\r\n";
}

[[noreturn]] void refuse(const std::string& request, const Parser& parser) {
  const auto& response = parser.get();
  throw Error(Errc::guest_failed,
              "the Docker engine answered " + request + " with status " + std::to_string(response.result_int()),
              engine_remedy)
      .because(message_of(response.body()));
}

/// Sends a request without a body. `parser` has the answer, whatever its status.
asio::awaitable<void> ask(ByteStream& engine, Parser& parser, const std::string& request, std::string_view more = {},
                          std::uint64_t limit = body_limit, std::size_t at_once = read_size) {
  const std::string head = head_of(request, more);
  co_await engine.write(head);
  parser.header_limit(header_limit);
  parser.body_limit(limit);
  parser.eager(true);
  co_await read_response(engine, parser, request, at_once);
}

/// The body of the answer to GET `target`.
asio::awaitable<std::string> get(ByteStream& engine, std::string_view target) {
  const std::string request = "GET " + std::string(target);
  Parser parser;
  co_await ask(engine, parser, request);
  if (parser.get().result_int() != 200) refuse(request, parser);
  co_return parser.get().body();
}

json::value read_json(const std::string& request, const Parser& parser) {
  if (parser.get().result_int() != 200) refuse(request, parser);
  error_code ec;
  json::value value = parse_json(parser.get().body(), ec);
  if (ec) throw nonsense(request, ec.message());
  return value;
}

json::array read_list(const std::string& request, const Parser& parser) {
  json::value value = read_json(request, parser);
  if (!value.is_array()) throw nonsense(request, "it is no JSON array");
  return std::move(value.get_array());
}

json::object read_object(const std::string& request, const Parser& parser) {
  json::value value = read_json(request, parser);
  if (!value.is_object()) throw nonsense(request, "it is no JSON object");
  return std::move(value.get_object());
}

/// A name as a part of a URL's path. A slash stays: the names of images have them.
std::string in_path(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || std::string_view("-._~/:@").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", byte);
    }
  }
  return out;
}

/// Nothing when the engine says that there is no such thing.
asio::awaitable<std::optional<json::object>> inspect(ByteStream& engine, std::string target) {
  const std::string request = "GET " + target;
  Parser parser;
  co_await ask(engine, parser, request);
  if (parser.get().result_int() == 404) co_return std::nullopt;
  co_return read_object(request, parser);
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

namespace {

asio::awaitable<json::array> list_of(ByteStream& engine, std::string request) {
  Parser parser;
  co_await ask(engine, parser, request, {}, list_limit, list_read_size);
  co_return read_list(request, parser);
}

}  // namespace

asio::awaitable<json::array> running_containers(ByteStream& engine) { return list_of(engine, "GET /containers/json"); }

asio::awaitable<json::array> all_containers(ByteStream& engine) {
  return list_of(engine, "GET /containers/json?all=1");
}

asio::awaitable<json::array> volumes(ByteStream& engine) {
  const std::string request = "GET /volumes";
  Parser parser;
  co_await ask(engine, parser, request, {}, list_limit, list_read_size);
  json::object answer = read_object(request, parser);
  json::value* list = answer.if_contains("Volumes");
  if (list == nullptr || list->is_null()) co_return json::array();
  if (!list->is_array()) throw nonsense(request, "its volumes are no JSON array");
  co_return std::move(list->get_array());
}

asio::awaitable<std::optional<json::array>> services(ByteStream& engine) {
  const std::string request = "GET /services";
  Parser parser;
  co_await ask(engine, parser, request, {}, list_limit, list_read_size);
  const unsigned status = parser.get().result_int();
  // 503: in no swarm, or it is no manager. 404 and 501: an engine that knows no swarms (Podman).
  if (status == 503 || status == 404 || status == 501) co_return std::nullopt;
  co_return read_list(request, parser);
}

asio::awaitable<void> stop_container(ByteStream& engine, std::string container) {
  const std::string request = "POST /containers/" + in_path(container) + "/stop?t=0";
  Parser parser;
  co_await ask(engine, parser, request, "Content-Length: 0\r\n");
  const unsigned status = parser.get().result_int();
  if (status != 204 && status != 304 && status != 404) refuse(request, parser);
}

asio::awaitable<std::optional<json::object>> container(ByteStream& engine, std::string name) {
  return inspect(engine, "/containers/" + in_path(name) + "/json");
}

asio::awaitable<std::optional<json::object>> image(ByteStream& engine, std::string name) {
  return inspect(engine, "/images/" + in_path(name) + "/json");
}

asio::awaitable<json::object> disk_usage(ByteStream& engine) {
  const std::string request = "GET /system/df";
  Parser parser;
  co_await ask(engine, parser, request, {}, list_limit, list_read_size);
  co_return read_object(request, parser);
}

// ---- events -----------------------------------------------------------------------------------------------------

struct EventStream::State {
  std::unique_ptr<ByteStream> engine;
  Parser parser;
  boost::beast::flat_buffer buffer{header_limit + read_size};
  std::string lines;                    // of the body
  std::size_t begin = 0, searched = 0;  // before `begin` they were handed out; up to `searched` there is no end of one

  /// Reads once more and takes in what came; false at the end of the stream.
  asio::awaitable<bool> read() {
    constexpr const char* request = "GET /events";
    const auto space = buffer.prepare(read_size);
    const std::size_t got = co_await engine->read_some({static_cast<char*>(space.data()), space.size()});
    if (got == 0) co_return false;
    buffer.commit(got);
    const std::string_view unread(static_cast<const char*>(buffer.data().data()), buffer.size());
    if (!parser.got_some() && !may_become_http(unread)) throw nonsense(request, "it is no HTTP");
    while (buffer.size() > 0 && !parser.is_done()) {
      error_code ec;
      const std::size_t used = parser.put(buffer.data(), ec);
      buffer.consume(used);
      if (ec == http::error::need_more) break;
      if (ec) throw nonsense(request, ec.message());
      if (used == 0) break;
    }
    lines.erase(0, begin);
    searched -= begin;
    begin = 0;
    lines += std::exchange(parser.get().body(), {});
    if (lines.size() > event_limit) throw nonsense(request, "an event has no end");
    co_return true;
  }
};

EventStream::EventStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
EventStream::~EventStream() = default;

asio::awaitable<std::unique_ptr<EventStream>> EventStream::open(std::unique_ptr<ByteStream> engine, std::string filters,
                                                                std::chrono::nanoseconds since) {
  std::string escaped;
  for (const char c : filters) {
    constexpr char digits[] = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9')) {
      escaped += c;
    } else {
      escaped += {'%', digits[byte >> 4], digits[byte & 15]};
    }
  }
  auto state = std::make_unique<State>();
  state->engine = std::move(engine);
  state->parser.header_limit(header_limit);
  state->parser.body_limit(boost::none);
  state->parser.eager(true);
  const std::string head = head_of(fmt::format("GET /events?filters={}&since={}.{:09}", escaped,
                                               since.count() / 1000000000, since.count() % 1000000000));
  co_await state->engine->write(head);
  // The engine sends its header once it has subscribed us.
  while (!state->parser.is_header_done())
    if (!co_await state->read())
      throw Error(Errc::guest_failed, "the Docker engine closed the connection without an answer to GET /events",
                  engine_remedy);
  const unsigned status = state->parser.get().result_int();
  while (status != 200 && !state->parser.is_done())
    if (!co_await state->read()) break;
  if (status != 200)
    throw Error(Errc::guest_failed, "the Docker engine answered GET /events with status " + std::to_string(status),
                engine_remedy)
        .because(message_of(state->lines));
  co_return std::unique_ptr<EventStream>(new EventStream(std::move(state)));
}

asio::awaitable<std::optional<Event>> EventStream::next() {
  for (;;) {
    const auto end = state_->lines.find('\n', state_->searched);
    if (end == std::string::npos) {
      state_->searched = state_->lines.size();
      if (state_->parser.is_done() || !co_await state_->read()) co_return std::nullopt;
      continue;
    }
    const std::string line = state_->lines.substr(state_->begin, end - state_->begin);
    state_->begin = state_->searched = end + 1;
    if (line.find_first_not_of("\r ") == std::string::npos) continue;
    error_code ec;
    const json::value value = parse_json(line, ec);
    if (ec || !value.is_object()) throw nonsense("GET /events", "a line is no JSON object");
    const json::object& object = value.get_object();
    Event event{std::string(text_at(object, "Type")), std::string(text_at(object, "Action")), {}, {}};
    if (const json::value* time = object.if_contains("timeNano"); time != nullptr && time->is_int64())
      event.time = std::chrono::nanoseconds(time->get_int64());
    if (const json::value* actor = object.if_contains("Actor"); actor != nullptr && actor->is_object())
      event.id = text_at(actor->get_object(), "ID");
    co_return event;
  }
}

}  // namespace cl::docker
