#include "vm/qemu/qmp_codec.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "src/base/error.hpp"

namespace cl {
namespace json = boost::json;

std::optional<json::object> QmpDecoder::next() {
  for (;;) {
    const auto newline = buffer_.find('\n', std::max(scanned_, begin_));
    const std::size_t length = (newline == std::string::npos ? buffer_.size() : newline) - begin_;
    if (length > max_message)
      throw Error(Errc::protocol, "QEMU sent a control message of more than " + std::to_string(max_message) + " bytes");
    if (newline == std::string::npos) {
      // Only now is anything moved: a batch of messages costs one copy of its rest.
      buffer_.erase(0, begin_);
      begin_ = 0;
      scanned_ = buffer_.size();
      return std::nullopt;
    }
    std::string_view line(buffer_.data() + begin_, length);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    begin_ = newline + 1;
    if (line.empty()) continue;

    boost::system::error_code ec;
    json::value value = json::parse(line, ec);
    if (ec) throw Error(Errc::protocol, "QEMU's control socket did not speak JSON").because(ec.message());
    if (!value.is_object()) throw Error(Errc::protocol, "QEMU's control socket sent something that is no message");
    return std::move(value.get_object());
  }
}

std::string encode_qmp_command(std::string_view command, const json::object& arguments, std::int64_t id) {
  json::object message;
  message["execute"] = command;
  if (!arguments.empty()) message["arguments"] = arguments;
  message["id"] = id;
  return json::serialize(message) + "\n";
}

}  // namespace cl
