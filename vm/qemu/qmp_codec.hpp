#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cl {

/// Takes QMP's bytes apart into messages: JSON objects, one per line (QEMU docs/interop/qmp-spec.rst).
/// Knows no socket. After an Error it is of no further use.
class QmpDecoder {
 public:
  /// Longest line that is accepted; QEMU's greeting has 200 bytes, its longest answers tens of KiB.
  static constexpr std::size_t max_message = 1 << 20;

  /// Adds bytes as they came, in pieces of any size.
  void feed(std::string_view bytes) { buffer_ += bytes; }

  /// The next complete message, or nothing until more bytes come.
  /// Throws Error{protocol} for what is no JSON object and for a line over max_message.
  std::optional<boost::json::object> next();

 private:
  std::string buffer_;
  std::size_t begin_ = 0;    ///< what lies before was handed out
  std::size_t scanned_ = 0;  ///< no newline before here
};

/// One command as bytes on the wire. `id` comes back in its reply. Empty arguments are left out.
std::string encode_qmp_command(std::string_view command, const boost::json::object& arguments, std::int64_t id);

}  // namespace cl
