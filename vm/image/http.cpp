#include "vm/image/http.hpp"

#include <fmt/format.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/ssl/impl/src.hpp>  // see src/base/asio.cpp
#include <boost/asio/write.hpp>
#include <cstdlib>
#include <tuple>

#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/text.hpp"
#include "vm/http_response.hpp"

namespace cl {
namespace {

namespace ssl = boost::asio::ssl;
using asio::ip::tcp;

constexpr int most_redirects = 10;
constexpr std::size_t read_size = 64 * 1024;

Error network_error(std::string what, const error_code& ec) {
  if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
  const bool cut = ec == asio::error::eof || ec == ssl::error::stream_truncated;
  return Error(Errc::io, std::move(what)).because(cut ? "the connection ended too early" : ec.message());
}

std::string unusable(const Url& proxy) { return "the proxy " + proxy.endpoint() + " cannot be used"; }

/// `op` within `limit`. A failure of the network or the peer is told as `what`, and so that the caller knows whether to
/// try again.
template <class T>
asio::awaitable<T> within(std::chrono::milliseconds limit, std::string what, asio::awaitable<T> op) {
  try {
    co_return co_await with_timeout(limit, what, std::move(op));
  } catch (const Error& error) {
    if (error.code() == Errc::timed_out) throw Error(Errc::timed_out, what).because("it took too long");
    if (error.code() != Errc::io && error.code() != Errc::protocol) throw;
    throw Error(error.code(), what).because(error.cause());
  }
}

std::string message_for(const HttpRequest& request, const std::optional<Url>& proxy) {
  const Url& url = request.url;
  // A proxy for http wants to know the host; with https it has been told already.
  const bool by_proxy = proxy && url.scheme == "http";
  std::string message = fmt::format(
      "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: colima-like\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
      "Connection: close\r\n",
      by_proxy ? url.scheme + "://" + url.authority() + url.target : url.target, url.authority());
  if (!url.user_info.empty()) message += "Authorization: Basic " + base64(url.user_info) + "\r\n";
  if (by_proxy && !proxy->user_info.empty())
    message += "Proxy-Authorization: Basic " + base64(proxy->user_info) + "\r\n";
  if (request.offset > 0) {
    message += fmt::format("Range: bytes={}-\r\n", request.offset);
    if (!request.unchanged.empty()) message += "If-Range: " + request.unchanged + "\r\n";
  }
  return message + "\r\n";
}

std::shared_ptr<ssl::context> make_context(const HttpOptions& options) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_client);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
  context->set_verify_mode(ssl::verify_peer);
  error_code ignored;
  context->set_default_verify_paths(ignored);
  // The library looks where the system that it was built for keeps them, and a release's runs on others.
  const auto bundle = ca_bundle();
  if (bundle && std::getenv("SSL_CERT_FILE") == nullptr && std::getenv("SSL_CERT_DIR") == nullptr &&
      !file_exists(X509_get_default_cert_file()))
    context->load_verify_file(bundle->string(), ignored);
  if (!options.ca_file.empty()) {
    error_code ec;
    context->load_verify_file(options.ca_file.string(), ec);
    if (ec) throw Error(Errc::host_requirement, "cannot read certificates from " + options.ca_file.string());
  }
  return context;
}

/// A TCP connection that may go over to TLS.
class Connection {
 public:
  explicit Connection(tcp::socket socket) : socket_(std::move(socket)) {}

  /// Error{host_requirement} when `host` cannot show that it is the one.
  asio::awaitable<void> secure(std::string host, std::shared_ptr<ssl::context> context) {
    context_ = std::move(context);
    tls_ = std::make_unique<Tls>(socket_, *context_);
    tls_->set_verify_callback(ssl::host_name_verification(host));
    error_code no_address;
    asio::ip::make_address(host, no_address);
    if (no_address && SSL_set_tlsext_host_name(tls_->native_handle(), host.c_str()) != 1)
      throw Error(Errc::internal, "the TLS library does not take the name " + host);
    auto [ec] = co_await tls_->async_handshake(ssl::stream_base::client, no_throw);
    if (!ec) co_return;
    const long verdict = SSL_get_verify_result(tls_->native_handle());
    const bool refused = ec.category() == asio::error::get_ssl_category() &&
                         ERR_GET_REASON(static_cast<unsigned long>(ec.value())) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    if (!refused) throw network_error("no secure connection to " + host, ec);
    throw Error(Errc::host_requirement, "the server " + host + " is not trusted",
                "a proxy that opens TLS has a certificate authority of its own: name its file by SSL_CERT_FILE")
        .because(verdict == X509_V_OK ? "its certificate is for another name" : X509_verify_cert_error_string(verdict));
  }

  asio::awaitable<std::size_t> read_some(std::span<char> space) {
    const auto buffer = asio::buffer(space.data(), space.size());
    error_code ec;
    std::size_t got = 0;
    if (tls_) {
      std::tie(ec, got) = co_await tls_->async_read_some(buffer, no_throw);
    } else {
      std::tie(ec, got) = co_await socket_.async_read_some(buffer, no_throw);
    }
    if (ec && ec != asio::error::eof) throw network_error("cannot read from the connection", ec);
    co_return got;
  }

  asio::awaitable<void> write(std::string bytes) {
    const auto buffer = asio::buffer(bytes);
    error_code ec;
    if (tls_) {
      std::tie(ec, std::ignore) = co_await asio::async_write(*tls_, buffer, no_throw);
    } else {
      std::tie(ec, std::ignore) = co_await asio::async_write(socket_, buffer, no_throw);
    }
    if (ec) throw network_error("cannot write to the connection", ec);
  }

 private:
  using Tls = ssl::stream<tcp::socket&>;

  tcp::socket socket_;
  std::shared_ptr<ssl::context> context_;  // what tls_ refers to
  std::unique_ptr<Tls> tls_;
};

/// The connection to a server, or to a proxy.
asio::awaitable<std::unique_ptr<Connection>> connect_to(Url to) {
  auto executor = co_await asio::this_coro::executor;
  tcp::resolver resolver(executor);
  auto [unknown, addresses] = co_await resolver.async_resolve(to.host, to.port, no_throw);
  if (unknown) throw network_error("cannot find the address of " + to.host, unknown);
  tcp::socket socket(executor);
  auto [ec, endpoint] = co_await asio::async_connect(socket, addresses, no_throw);
  if (ec) throw network_error("cannot connect to " + to.endpoint(), ec);
  co_return std::make_unique<Connection>(std::move(socket));
}

HttpResponse response_from(Connection& connection) {
  return HttpResponse([&connection](std::span<char> space) { return connection.read_some(space); });
}

/// Makes the proxy's connection one to the server.
asio::awaitable<void> tunnel(Connection& connection, Url proxy, Url to) {
  std::string message = fmt::format("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nUser-Agent: colima-like\r\n", to.endpoint());
  if (!proxy.user_info.empty()) message += "Proxy-Authorization: Basic " + base64(proxy.user_info) + "\r\n";
  message += "\r\n";
  co_await connection.write(std::move(message));
  HttpResponse response = response_from(connection);
  response.expect_no_body();
  co_await response.read_head();
  const unsigned status = response.status();
  const std::string what = unusable(proxy);
  const std::string answer = fmt::format("it answers CONNECT {} with status {}", to.endpoint(), status);
  // A gateway that does not reach the server just now may do so later; a proxy that refuses will go on refusing.
  if (status >= 500) throw Error(Errc::io, what).because(answer);
  if (status / 100 != 2 || response.has_more())
    throw Error(Errc::host_requirement, what, "check https_proxy, and user and password in it").because(answer);
}

class Reply final : public HttpReply {
 public:
  Reply(std::unique_ptr<Connection> connection, HttpOptions options)
      : connection_(std::move(connection)), options_(std::move(options)), response_(response_from(*connection_)) {}

  asio::awaitable<void> ask(HttpRequest request, std::optional<Url> proxy) {
    std::string message = message_for(request, proxy);
    co_await connection_->write(std::move(message));
    co_await response_.read_head();
    answer_.url = request.url;
    answer_.status = response_.status();
    answer_.length = response_.length();
    answer_.etag = response_.field("ETag");
    answer_.last_modified = response_.field("Last-Modified");
    if (const auto wait = whole_number<std::uint64_t>(response_.field("Retry-After")))
      answer_.retry_after = std::chrono::seconds(*wait);
    if (answer_.status == 206 && !parse_content_range(response_.field("Content-Range"), answer_))
      throw Error(Errc::protocol, "the answer cannot be used")
          .because("it sends a part of the file and does not say which");
  }

  std::string location() const { return std::string(response_.field("Location")); }

  asio::awaitable<std::size_t> read_some(std::span<char> space) override {
    auto reading = response_.read_some(space);
    std::string what = "the connection to " + answer_.url.authority() + " broke";
    co_return co_await within(options_.silence, std::move(what), std::move(reading));
  }

 private:
  std::unique_ptr<Connection> connection_;
  HttpOptions options_;
  HttpResponse response_;
};

/// One request to one server, redirects left alone.
asio::awaitable<std::unique_ptr<Reply>> get_once(HttpRequest request, HttpOptions options) {
  const std::optional<Url> proxy = proxy_for(options.proxies, request.url);
  const Url url = request.url;
  const Url to = proxy ? *proxy : url;
  auto connecting = connect_to(to);
  std::string doing = "connecting to " + to.endpoint();
  auto connection = co_await with_timeout(options.connect, std::move(doing), std::move(connecting));
  if (url.scheme == "https") {
    if (proxy) {
      auto tunnelling = tunnel(*connection, *proxy, url);
      co_await within(options.connect, unusable(*proxy), std::move(tunnelling));
    }
    auto securing = connection->secure(url.host, make_context(options));
    co_await within(options.connect, "no secure connection to " + url.authority(), std::move(securing));
  }
  auto reply = std::make_unique<Reply>(std::move(connection), options);
  auto asking = reply->ask(std::move(request), proxy);
  co_await within(options.silence, "no answer from " + url.authority(), std::move(asking));
  co_return reply;
}

bool is_redirect(unsigned status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

std::string HttpAnswer::validator() const {
  if (!etag.empty() && !etag.starts_with("W/")) return etag;  // a weak one does not vouch for bytes (RFC 9110, 13.1.5)
  return last_modified;
}

std::optional<std::filesystem::path> ca_bundle(const std::filesystem::path& root) {
  for (const char* place : {"etc/ssl/certs/ca-certificates.crt",                 // Debian, Arch, Alpine, Gentoo, NixOS
                            "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // Fedora and its relatives
                            "etc/pki/tls/certs/ca-bundle.crt",                   // older ones of them
                            "etc/ssl/ca-bundle.pem",                             // openSUSE
                            "etc/ssl/cert.pem",                                  // macOS, Alpine
                            "etc/pki/tls/cacert.pem", "usr/local/share/certs/ca-root-nss.crt"})
    if (is_plain_file(root / place)) return root / place;
  return std::nullopt;
}

bool parse_content_range(std::string_view text, HttpAnswer& into) {
  constexpr std::string_view unit = "bytes ";
  if (!text.starts_with(unit)) return false;
  text.remove_prefix(unit.size());
  const auto dash = text.find('-'), slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return false;
  const auto first = whole_number<std::uint64_t>(text.substr(0, dash)),
             last = whole_number<std::uint64_t>(text.substr(dash + 1, slash - dash - 1));
  if (!first || !last || *last < *first) return false;
  into.first = first;
  into.total = whole_number<std::uint64_t>(text.substr(slash + 1));
  if (text.substr(slash + 1) == "*") return true;
  return into.total && *into.total > *last;
}

asio::awaitable<std::unique_ptr<HttpReply>> http_get(HttpRequest request, HttpOptions options) {
  const Url asked = request.url;
  for (int hops = 0;; ++hops) {
    HttpRequest next = request;
    auto reply = co_await get_once(std::move(next), options);
    const std::string location = reply->location();
    if (!is_redirect(reply->answer().status) || location.empty()) co_return std::move(reply);
    if (hops == most_redirects)
      throw Error(Errc::not_found, asked.str() + " leads nowhere").because("it redirects more than 10 times");
    const auto to = resolve_url(request.url, location);
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
