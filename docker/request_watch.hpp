#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cl {

/// The data of a whole chunked body, as it came (RFC 9112, 7.1), without its trailers.
std::string unchunked(std::string_view body);

/// Whether a call only lists, watches or asks, as a dashboard does, and neither changes nor carries anything.
bool only_looks(std::string_view method, std::string_view target);

/// Whether such a call is a list, or watches: what looks at one thing by its name may be the first step of work with
/// it.
bool only_lists(std::string_view target);

/// Follows the requests of one client of a Docker engine: where each begins, and what it asks for. It changes nothing.
/// After anything that is no plain HTTP/1.1 request (an upgrade, a hijacked stream such as attach, nonsense, endless
/// headers) all further bytes are opaque.
class RequestWatch {
 public:
  struct Piece {
    enum class Kind {
      head,  ///< of a request's line and headers; method and target are known once `last` is set
      body,
      opaque
    };
    Kind kind = Kind::opaque;
    std::string_view bytes;  ///< of what was passed in
    bool last = false;       ///< the head, or the body, is complete with it
  };

  /// Takes the next piece off the front of `bytes`, which must not be empty. Returns at least one byte.
  Piece next(std::string_view& bytes);

  /// Of the request whose head was completed last.
  const std::string& method() const noexcept { return method_; }
  /// Without the version prefix and the query: "/containers/abc/start".
  const std::string& target() const noexcept { return target_; }
  /// Whether that request has a body still to come.
  bool has_body() const noexcept { return state_ == State::body || state_ == State::chunked; }

 private:
  enum class State { head, body, chunked, opaque };
  void read_head();
  void end_body();
  std::size_t chunked_bytes(std::string_view bytes, bool& done);

  State state_ = State::head;
  std::string head_;
  std::string method_, target_;
  std::uint64_t left_ = 0;  // of the body, or of a chunk's data with its CRLF
  std::string line_;        // a chunk's size line, or a trailer
  bool in_trailer_ = false;
  bool starts_exec_ = false;  // what the body says decides whether a stream follows
  bool is_chunked_ = false;
  std::string exec_;  // the body of such a call
};

}  // namespace cl
