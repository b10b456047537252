#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "src/base/async.hpp"

namespace cl {

/// One answer of HTTP/1.1, read from a connection of any kind that serves nothing after it. What cannot be read is
/// told by its cause: Error{io} when the connection ends too early or breaks, Error{protocol} when that is no HTTP.
class HttpResponse {
 public:
  /// Reads up to as many bytes from the connection; 0 at its end.
  using ReadSome = std::function<asio::awaitable<std::size_t>(std::span<char>)>;

  explicit HttpResponse(ReadSome read_some);
  ~HttpResponse();

  /// Call it before reading when the answer has no body whatever it says: the one to CONNECT.
  void expect_no_body();
  asio::awaitable<void> read_head();
  /// Whether anything at all has come.
  bool has_begun() const noexcept;
  /// Whether more has come than belongs to what was read.
  bool has_more() const noexcept;

  unsigned status() const;
  /// Empty when the head has no such field.
  std::string_view field(std::string_view name) const;
  /// Nothing when the body is chunked, or ends with the connection.
  std::optional<std::uint64_t> length() const;

  /// At least one byte of the body; 0 at its end.
  asio::awaitable<std::size_t> read_some(std::span<char> space);
  /// The whole body; Error{protocol} when it has more than `most` bytes.
  asio::awaitable<std::string> read_body(std::size_t most);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cl
