#include "vm/image/http.hpp"

#include <fmt/format.h>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/ssl/impl/src.hpp>  // see src/base/asio.cpp
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <charconv>

#include "src/base/log.hpp"

namespace cl {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;

constexpr int most_redirects = 10;
constexpr std::uint32_t header_limit = 32 * 1024;
constexpr std::size_t read_size = 64 * 1024;

/// A failure of the network or the peer, told so that the caller knows whether to try again.
Error network_error(std::string what, const error_code& ec) {
  if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
  if (ec == beast::error::timeout) return Error(Errc::timed_out, std::move(what)).because("it took too long");
  const bool nonsense = ec.category() == http::make_error_code(http::error::end_of_stream).category() &&
                        ec != http::error::end_of_stream && ec != http::error::partial_message;
  if (ec == http::error::end_of_stream || ec == http::error::partial_message || ec == asio::error::eof ||
      ec == ssl::error::stream_truncated)
    return Error(Errc::io, std::move(what)).because("the connection ended too early");
  return Error(nonsense ? Errc::protocol : Errc::io, std::move(what)).because(ec.message());
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

http::request<http::empty_body> message_for(const HttpRequest& request, const std::optional<Url>& proxy) {
  const Url& url = request.url;
  http::request<http::empty_body> message;
  message.version(11);
  message.method(http::verb::get);
  // A proxy for http wants to know the host; with https it has been told already.
  message.target(proxy && url.scheme == "http" ? url.scheme + "://" + url.authority() + url.target : url.target);
  message.set(http::field::host, url.authority());
  message.set(http::field::user_agent, "colima-like");
  message.set(http::field::accept, "*/*");
  message.set(http::field::accept_encoding, "identity");
  message.set(http::field::connection, "close");
  if (!url.user_info.empty()) message.set(http::field::authorization, "Basic " + base64(url.user_info));
  if (proxy && url.scheme == "http" && !proxy->user_info.empty())
    message.set(http::field::proxy_authorization, "Basic " + base64(proxy->user_info));
  if (request.offset > 0) {
    message.set(http::field::range, fmt::format("bytes={}-", request.offset));
    if (!request.unchanged.empty()) message.set(http::field::if_range, request.unchanged);
  }
  return message;
}

/// The connection to a server, or to a proxy.
asio::awaitable<std::unique_ptr<beast::tcp_stream>> connect_to(Url to, std::chrono::milliseconds limit) {
  auto executor = co_await asio::this_coro::executor;
  tcp::resolver resolver(executor);
  auto [unknown, addresses] = co_await resolver.async_resolve(to.host, to.port, no_throw);
  if (unknown) throw network_error("cannot find the address of " + to.host, unknown);
  auto stream = std::make_unique<beast::tcp_stream>(executor);
  stream->expires_after(limit);
  auto [ec, endpoint] = co_await stream->async_connect(addresses, no_throw);
  if (ec) throw network_error("cannot connect to " + to.endpoint(), ec);
  co_return stream;
}

/// Makes the proxy's connection one to the server.
asio::awaitable<void> tunnel(beast::tcp_stream& stream, Url proxy, Url to) {
  http::request<http::empty_body> message;
  message.version(11);
  message.method(http::verb::connect);
  message.target(to.endpoint());
  message.set(http::field::host, to.endpoint());
  message.set(http::field::user_agent, "colima-like");
  if (!proxy.user_info.empty()) message.set(http::field::proxy_authorization, "Basic " + base64(proxy.user_info));
  auto [unsent, sent] = co_await http::async_write(stream, message, no_throw);
  const std::string what = "the proxy " + proxy.endpoint() + " cannot be used";
  if (unsent) throw network_error(what, unsent);
  http::response_parser<http::empty_body> parser;
  parser.header_limit(header_limit);
  parser.skip(true);
  beast::flat_buffer buffer(header_limit);
  auto [ec, got] = co_await http::async_read_header(stream, buffer, parser, no_throw);
  if (ec) throw network_error(what, ec);
  const unsigned status = parser.get().result_int();
  const std::string answer = fmt::format("it answers CONNECT {} with status {}", to.endpoint(), status);
  // A gateway that does not reach the server just now may do so later; a proxy that refuses will go on refusing.
  if (status >= 500) throw Error(Errc::io, what).because(answer);
  if (status / 100 != 2 || buffer.size() > 0)
    throw Error(Errc::host_requirement, what, "check https_proxy, and user and password in it").because(answer);
}

template <class Stream>
class Reply : public HttpReply {
 public:
  Reply(Stream stream, HttpOptions options)
      : stream_(std::move(stream)), options_(std::move(options)), buffer_(header_limit + read_size) {
    parser_.header_limit(header_limit);
    parser_.body_limit(boost::none);  // whoever writes it down counts
  }

  Stream& stream() { return stream_; }

  asio::awaitable<void> ask(HttpRequest request, std::optional<Url> proxy) {
    auto message = message_for(request, proxy);
    const std::string what = "no answer from " + request.url.authority();
    beast::get_lowest_layer(stream_).expires_after(options_.silence);
    auto [unsent, sent] = co_await http::async_write(stream_, message, no_throw);
    if (unsent) throw network_error(what, unsent);
    auto [ec, got] = co_await http::async_read_header(stream_, buffer_, parser_, no_throw);
    if (ec) throw network_error(what, ec);
    const auto& head = parser_.get();
    answer_.url = request.url;
    answer_.status = head.result_int();
    if (const auto length = parser_.content_length()) answer_.length = *length;
    answer_.etag = head[http::field::etag];
    answer_.last_modified = head[http::field::last_modified];
    if (const auto wait = number(head[http::field::retry_after])) answer_.retry_after = std::chrono::seconds(*wait);
    if (answer_.status == 206 && !parse_content_range(head[http::field::content_range], answer_))
      throw Error(Errc::protocol, request.url.authority() + " sends a part of the file and does not say which");
    location_ = head[http::field::location];
  }

  const std::string& location() const noexcept { return location_; }

  asio::awaitable<std::size_t> read_some(std::span<char> space) override {
    while (!parser_.is_done()) {
      auto& body = parser_.get().body();
      body.data = space.data();
      body.size = space.size();
      body.more = true;
      beast::get_lowest_layer(stream_).expires_after(options_.silence);
      auto [ec, got] = co_await http::async_read_some(stream_, buffer_, parser_, no_throw);
      const std::size_t taken = space.size() - body.size;
      if (taken > 0) co_return taken;  // an error will come again
      if (ec && ec != http::error::need_buffer)
        throw network_error("the connection to " + answer_.url.authority() + " broke", ec);
    }
    co_return 0;
  }

 private:
  Stream stream_;
  HttpOptions options_;
  beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> parser_;
  std::string location_;
};

using Plain = Reply<beast::tcp_stream>;

/// Keeps the context, which the stream refers to, as long as the stream.
struct TlsContext {
  std::shared_ptr<ssl::context> context;
};
class Secure : private TlsContext, public Reply<ssl::stream<beast::tcp_stream>> {
 public:
  Secure(std::shared_ptr<ssl::context> context, beast::tcp_stream stream, HttpOptions options)
      : TlsContext{context},
        Reply<ssl::stream<beast::tcp_stream>>(ssl::stream<beast::tcp_stream>(std::move(stream), *context),
                                              std::move(options)) {}
};

std::shared_ptr<ssl::context> make_context(const HttpOptions& options) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_client);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
  context->set_verify_mode(ssl::verify_peer);
  error_code ignored;
  context->set_default_verify_paths(ignored);
  if (!options.ca_file.empty()) {
    error_code ec;
    context->load_verify_file(options.ca_file.string(), ec);
    if (ec) throw Error(Errc::host_requirement, "cannot read certificates from " + options.ca_file.string());
  }
  return context;
}

/// One request to one server, redirects left alone.
struct Hop {
  std::unique_ptr<HttpReply> reply;
  std::string location;
};

asio::awaitable<Hop> get_once(HttpRequest request, HttpOptions options) {
  const std::optional<Url> proxy = proxy_for(options.proxies, request.url);
  const Url url = request.url;
  const Url to = proxy ? *proxy : url;
  auto connecting = connect_to(to, options.connect);
  // Around the resolver too, which has no limit of its own.
  std::string doing = "connecting to " + to.endpoint();
  const auto stream = co_await with_timeout(options.connect, std::move(doing), std::move(connecting));
  if (url.scheme == "http") {
    auto reply = std::make_unique<Plain>(std::move(*stream), options);
    co_await reply->ask(std::move(request), proxy);
    std::string location = reply->location();
    co_return Hop{std::move(reply), std::move(location)};
  }
  stream->expires_after(options.connect);
  if (proxy) co_await tunnel(*stream, *proxy, url);
  auto reply = std::make_unique<Secure>(make_context(options), std::move(*stream), options);
  auto& tls = reply->stream();
  tls.set_verify_callback(ssl::host_name_verification(url.host));
  error_code no_address;
  asio::ip::make_address(url.host, no_address);
  if (no_address && SSL_set_tlsext_host_name(tls.native_handle(), url.host.c_str()) != 1)
    throw Error(Errc::internal, "the TLS library does not take the name " + url.host);
  beast::get_lowest_layer(tls).expires_after(options.connect);
  auto [ec] = co_await tls.async_handshake(ssl::stream_base::client, no_throw);
  if (ec) {
    const long verdict = SSL_get_verify_result(tls.native_handle());
    const bool refused = ec.category() == asio::error::get_ssl_category() &&
                         ERR_GET_REASON(static_cast<unsigned long>(ec.value())) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    if (refused)
      throw Error(Errc::host_requirement, "the server " + url.host + " is not trusted",
                  "a proxy that opens TLS has a certificate authority of its own: name its file by SSL_CERT_FILE")
          .because(verdict == X509_V_OK ? "its certificate is for another name"
                                        : X509_verify_cert_error_string(verdict));
    throw network_error("no secure connection to " + url.authority(), ec);
  }
  co_await reply->ask(std::move(request), proxy);
  std::string location = reply->location();
  co_return Hop{std::move(reply), std::move(location)};
}

bool is_redirect(unsigned status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

std::string HttpAnswer::validator() const {
  if (!etag.empty() && !etag.starts_with("W/")) return etag;  // a weak one does not vouch for bytes (RFC 9110, 13.1.5)
  return last_modified;
}

bool parse_content_range(std::string_view text, HttpAnswer& into) {
  constexpr std::string_view unit = "bytes ";
  if (!text.starts_with(unit)) return false;
  text.remove_prefix(unit.size());
  const auto dash = text.find('-'), slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return false;
  const auto first = number(text.substr(0, dash)), last = number(text.substr(dash + 1, slash - dash - 1));
  if (!first || !last || *last < *first) return false;
  into.first = first;
  into.total = number(text.substr(slash + 1));
  if (text.substr(slash + 1) == "*") return true;
  return into.total && *into.total > *last;
}

asio::awaitable<std::unique_ptr<HttpReply>> http_get(HttpRequest request, HttpOptions options) {
  const Url asked = request.url;
  for (int hops = 0;; ++hops) {
    HttpRequest next = request;
    Hop hop = co_await get_once(std::move(next), options);
    const unsigned status = hop.reply->answer().status;
    if (!is_redirect(status) || hop.location.empty()) co_return std::move(hop.reply);
    if (hops == most_redirects)
      throw Error(Errc::not_found, asked.str() + " leads nowhere").because("it redirects more than 10 times");
    const auto to = resolve_url(request.url, hop.location);
    if (!to) throw Error(Errc::not_found, asked.str() + " leads nowhere").because("it redirects to what is no URL");
    if (request.url.scheme == "https" && to->scheme == "http")
      throw Error(Errc::not_found, asked.str() + " leads to an insecure place").because("it redirects to " + to->str());
    log::info("{} redirects to {}", request.url.str(), to->str());
    request.url = *to;
  }
}

asio::awaitable<std::string> http_get_text(Url url, HttpOptions options, std::size_t most) {
  const std::string name = url.str();
  HttpRequest request{std::move(url), 0, {}};
  const auto reply = co_await http_get(std::move(request), std::move(options));
  if (reply->answer().status != 200)
    throw Error(Errc::not_found, "cannot get " + name)
        .because(fmt::format("the server answers with status {}", reply->answer().status));
  std::string text;
  std::vector<char> space(read_size);
  for (;;) {
    const std::size_t got = co_await reply->read_some(space);
    if (got == 0) co_return text;
    if (text.size() + got > most) throw Error(Errc::protocol, name + " is too large");
    text.append(space.data(), got);
  }
}

}  // namespace cl
