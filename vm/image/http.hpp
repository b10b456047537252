#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "src/base/async.hpp"
#include "vm/image/url.hpp"

/// GET over HTTP/1.1 as downloads of images need it: a part of a file, redirects, proxies, TLS that is checked.
namespace cl {

struct HttpOptions {
  ProxySettings proxies;
  std::filesystem::path ca_file;             ///< trusted too; the system's store is anyway ($SSL_CERT_FILE replaces it)
  std::chrono::milliseconds connect{20000};  ///< for a name, a connection and TLS
  std::chrono::milliseconds silence{30000};  ///< between two pieces of the answer
};

struct HttpRequest {
  Url url;
  std::uint64_t offset = 0;  ///< where to begin
  std::string unchanged;  ///< ETag or date of the file that the offset belongs to: another file is sent from its start
};

/// What the answer says before its body.
struct HttpAnswer {
  Url url;  ///< after all redirects
  unsigned status = 0;
  std::optional<std::uint64_t> length;  ///< of the body that follows
  std::optional<std::uint64_t> first;   ///< status 206: where the body begins in the file
  std::optional<std::uint64_t> total;   ///< status 206: of the whole file
  std::string etag, last_modified;
  std::chrono::seconds retry_after{0};
  /// What `HttpRequest::unchanged` takes: a strong ETag, else the date; empty when there is neither.
  std::string validator() const;
};

/// An answer whose body is read piece by piece.
class HttpReply {
 public:
  virtual ~HttpReply() = default;
  const HttpAnswer& answer() const noexcept { return answer_; }
  /// At least one byte; 0 at the body's end. Throws Error{io} when the connection ends before the body does, and
  /// Error{timed_out} after a long silence.
  virtual asio::awaitable<std::size_t> read_some(std::span<char> space) = 0;

 protected:
  HttpAnswer answer_;
};

/// Sends the request, follows up to 10 redirects (never from https to http), and returns once the status is there,
/// whatever it is. What another attempt may cure is thrown as Error{io}, {timed_out} or {protocol}; a certificate that
/// is not trusted, and a proxy that refuses, as Error{host_requirement}.
asio::awaitable<std::unique_ptr<HttpReply>> http_get(HttpRequest request, HttpOptions options);

/// The whole of a small file. Throws as above, and Error{not_found} for a status other than 200.
asio::awaitable<std::string> http_get_text(Url url, HttpOptions options, std::size_t most);

/// The file of the certificate authorities that this system trusts, by where distributions have it; nothing when there
/// is none. `root` is for tests.
std::optional<std::filesystem::path> ca_bundle(const std::filesystem::path& root = "/");

/// "bytes 100-199/200"; false for anything else. Pure.
bool parse_content_range(std::string_view text, HttpAnswer& into);

}  // namespace cl
