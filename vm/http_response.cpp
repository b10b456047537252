#include "vm/http_response.hpp"

#include <algorithm>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <utility>
#include <vector>

namespace cl {
namespace {

namespace http = boost::beast::http;

constexpr std::uint32_t header_limit = 32 * 1024;
constexpr std::size_t read_size = 64 * 1024;

Error failure(const error_code& ec) {
  const bool cut = ec == http::error::end_of_stream || ec == http::error::partial_message;
  return Error(cut ? Errc::io : Errc::protocol, "cannot read the answer")
      .because(cut ? "the connection ended too early" : ec.message());
}

}  // namespace

struct HttpResponse::State {
  ReadSome read_some;
  http::response_parser<http::buffer_body> parser{};
  boost::beast::flat_buffer buffer{header_limit + read_size};

  asio::awaitable<void> fill() {
    const std::size_t room = std::min(read_size, buffer.max_size() - buffer.size());
    if (room == 0) throw failure(http::error::buffer_overflow);
    const auto space = buffer.prepare(room);
    const std::size_t got = co_await read_some({static_cast<char*>(space.data()), space.size()});
    buffer.commit(got);
    if (got > 0) co_return;
    error_code ec = http::error::end_of_stream;
    if (parser.got_some()) parser.put_eof(ec);  // fine where the connection's end is the body's
    if (ec) throw failure(ec);
  }

  /// Parses once, and reads first where there is nothing to parse.
  asio::awaitable<void> advance() {
    error_code ec = http::error::need_more;
    if (buffer.size() > 0) buffer.consume(parser.put(buffer.data(), ec));
    if (ec == http::error::need_more) {
      co_await fill();
    } else if (ec && ec != http::error::need_buffer) {
      throw failure(ec);
    }
  }
};

HttpResponse::HttpResponse(ReadSome read_some) : state_(new State{std::move(read_some)}) {
  state_->parser.header_limit(header_limit);
  state_->parser.body_limit(boost::none);  // whoever reads it counts
}

HttpResponse::~HttpResponse() = default;

void HttpResponse::expect_no_body() { state_->parser.skip(true); }

asio::awaitable<void> HttpResponse::read_head() {
  while (!state_->parser.is_header_done()) co_await state_->advance();
}

bool HttpResponse::has_begun() const noexcept { return state_->parser.got_some() || has_more(); }

bool HttpResponse::has_more() const noexcept { return state_->buffer.size() > 0; }

unsigned HttpResponse::status() const { return state_->parser.get().result_int(); }

std::string_view HttpResponse::field(std::string_view name) const { return state_->parser.get()[name]; }

std::optional<std::uint64_t> HttpResponse::length() const {
  const auto length = state_->parser.content_length();
  return length ? std::optional<std::uint64_t>(*length) : std::nullopt;
}

asio::awaitable<std::size_t> HttpResponse::read_some(std::span<char> space) {
  auto& body = state_->parser.get().body();
  std::size_t taken = 0;
  while (taken == 0 && !state_->parser.is_done()) {
    body.data = space.data();
    body.size = space.size();
    body.more = true;
    co_await state_->advance();
    taken = space.size() - body.size;
  }
  co_return taken;
}

asio::awaitable<std::string> HttpResponse::read_body(std::size_t most) {
  std::string text;
  std::vector<char> space(std::min(read_size, most + 1));
  for (;;) {
    const std::size_t got = co_await read_some(space);
    if (got == 0) co_return text;
    if (text.size() + got > most) throw Error(Errc::protocol, "cannot read the answer").because("it is too large");
    text.append(space.data(), got);
  }
}

}  // namespace cl
