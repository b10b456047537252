#include "docker/request_watch.hpp"

#include <algorithm>
#include <array>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <cstdlib>
#include <optional>

#include "src/base/text.hpp"

namespace cl {
namespace {

constexpr std::size_t head_limit = 64 * 1024;  // real ones are below 1 KiB, with registry credentials some more
constexpr std::size_t line_limit = 8 * 1024;
constexpr std::size_t exec_limit = 4 * 1024;  // of POST /exec/ID/start: two words and a window's size

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// "/v1.47/containers/abc/start?x=y" -> "/containers/abc/start".
std::string_view plain_target(std::string_view target) {
  target = target.substr(0, target.find('?'));
  if (target.starts_with("/v") && target.size() > 2 && target[2] >= '0' && target[2] <= '9') {
    const auto end = target.find('/', 1);
    if (end != std::string_view::npos) target.remove_prefix(end);
  }
  return target;
}

/// Calls after which the connection is a raw stream, with or without an Upgrade header.
bool takes_over(std::string_view target) {
  return target.ends_with("/attach") || target.ends_with("/attach/ws") || target == "/session" || target == "/grpc";
}

/// Whether POST /exec/ID/start with this body is answered like any other call, and no stream follows.
bool is_detached(std::string_view body) {
  boost::system::error_code ec;
  const boost::json::value call = boost::json::parse(body, ec);
  const boost::json::value* detach = !ec && call.is_object() ? call.get_object().if_contains("Detach") : nullptr;
  return detach != nullptr && detach->is_bool() && detach->get_bool();
}

}  // namespace

namespace {

/// Podman's own API has the same calls under this name.
std::string_view without_libpod(std::string_view target) {
  constexpr std::string_view own = "/libpod";
  if (target.starts_with(own)) target.remove_prefix(own.size());
  return target;
}

}  // namespace

bool only_lists(std::string_view target) {
  constexpr std::array<std::string_view, 14> lists{
      "/info",     "/events", "/system/df", "/containers/json", "/images/json", "/volumes", "/networks",
      "/services", "/nodes",  "/tasks",     "/plugins",         "/configs",     "/secrets", "/swarm"};
  target = without_libpod(target);
  if (std::find(lists.begin(), lists.end(), target) != lists.end()) return true;
  return target.starts_with("/containers/") && (target.ends_with("/stats") || target.ends_with("/top"));
}

bool only_looks(std::string_view method, std::string_view target) {
  if (method != "GET" && method != "HEAD") return false;
  target = without_libpod(target);
  if (target == "/_ping" || target == "/version" || only_lists(target)) return true;
  if (target.ends_with("/logs")) return false;
  for (const std::string_view kind :
       {"/volumes/", "/networks/", "/configs/", "/secrets/", "/services/", "/nodes/", "/tasks/"})
    if (target.starts_with(kind)) return true;
  for (const std::string_view kind : {"/containers/", "/images/", "/exec/"})
    for (const std::string_view what : {"/json", "/changes", "/history"})
      if (target.starts_with(kind) && target.ends_with(what)) return true;
  return false;
}

std::string unchunked(std::string_view body) {
  std::string data;
  while (!body.empty()) {
    const std::size_t size = std::strtoull(std::string(body.substr(0, body.find('\r'))).c_str(), nullptr, 16);
    const auto begin = body.find('\n');
    if (size == 0 || begin == std::string_view::npos) break;
    body.remove_prefix(begin + 1);
    data += body.substr(0, size);
    body.remove_prefix(std::min(body.size(), size));
    body.remove_prefix(std::min<std::size_t>(body.size(), 2));  // the data's own CRLF
  }
  return data;
}

void RequestWatch::read_head() {
  std::string_view rest = head_;
  auto line = [&rest] {
    const auto end = rest.find("\r\n");
    const std::string_view one = rest.substr(0, end);
    rest.remove_prefix(std::min(rest.size(), end + 2));
    return one;
  };
  std::string_view request = line();
  state_ = State::opaque;
  const auto first = request.find(' ');
  const auto second = request.rfind(' ');
  if (first == std::string_view::npos || second == first || !request.substr(second + 1).starts_with("HTTP/1.")) return;
  method_ = request.substr(0, first);
  target_ = plain_target(request.substr(first + 1, second - first - 1));
  if (takes_over(target_)) return;
  starts_exec_ = target_.starts_with("/exec/") && target_.ends_with("/start");
  bool chunked = false;
  std::uint64_t length = 0;
  while (!rest.empty()) {
    const std::string_view header = line();
    const auto colon = header.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string name = lower(header.substr(0, colon));
    const std::string_view value = trim(header.substr(colon + 1));
    if (name == "upgrade") return;
    if (name == "transfer-encoding") {
      if (lower(value) != "chunked") return;
      chunked = true;
    }
    if (name == "content-length") {
      const auto count = whole_number<std::uint64_t>(value, 10);
      if (!count) return;
      length = *count;
    }
  }
  if (starts_exec_ && !chunked && length == 0) return;
  is_chunked_ = chunked;
  exec_.clear();
  if (chunked) {
    state_ = State::chunked;
    left_ = 0;
    in_trailer_ = false;
    line_.clear();
  } else {
    state_ = length > 0 ? State::body : State::head;
    left_ = length;
  }
}

/// How many of `bytes` belong to the chunked body; `done` when it ends there.
std::size_t RequestWatch::chunked_bytes(std::string_view bytes, bool& done) {
  std::size_t used = 0;
  while (used < bytes.size()) {
    if (left_ > 0) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size() - used));
      left_ -= count;
      used += count;
      continue;
    }
    const char c = bytes[used++];
    line_ += c;
    if (line_.size() > line_limit) {
      state_ = State::opaque;
      return bytes.size();
    }
    if (c != '\n') continue;
    const std::string_view line = trim(std::string_view(line_).substr(0, line_.find('\r')));
    if (in_trailer_) {
      done = line.empty();
      line_.clear();
      if (done) return used;
      continue;
    }
    const auto size = whole_number<std::uint64_t>(line.substr(0, line.find(';')), 16);
    line_.clear();
    if (!size || *size > (std::uint64_t{1} << 62)) {
      state_ = State::opaque;
      return bytes.size();
    }
    in_trailer_ = *size == 0;
    if (*size > 0) left_ = *size + 2;  // the data's own CRLF
  }
  return used;
}

/// The next request follows, or the stream of an exec that is not detached.
void RequestWatch::end_body() {
  state_ = State::head;
  if (!starts_exec_) return;
  if (exec_.size() > exec_limit || !is_detached(is_chunked_ ? unchunked(exec_) : exec_)) state_ = State::opaque;
  exec_.clear();
}

RequestWatch::Piece RequestWatch::next(std::string_view& bytes) {
  Piece piece;
  std::size_t used = bytes.size();
  switch (state_) {
    case State::head: {
      piece.kind = Piece::Kind::head;
      const std::size_t known = head_.size();
      head_.append(bytes.substr(0, head_limit + 1));
      const auto end = head_.find("\r\n\r\n", known < 3 ? 0 : known - 3);
      if (end != std::string::npos) {
        used = end + 4 - known;
        head_.resize(end + 2);
        piece.last = true;
        read_head();
        if (state_ == State::opaque) piece.kind = Piece::Kind::opaque;
        head_.clear();
      } else if (head_.size() > head_limit) {
        state_ = State::opaque;
        piece.kind = Piece::Kind::opaque;
        head_.clear();
      }
      break;
    }
    case State::body:
      piece.kind = Piece::Kind::body;
      used = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
      left_ -= used;
      piece.last = left_ == 0;
      break;
    case State::chunked:
      piece.kind = Piece::Kind::body;
      used = chunked_bytes(bytes, piece.last);
      if (state_ == State::opaque) piece.kind = Piece::Kind::opaque;
      break;
    case State::opaque: break;
  }
  piece.bytes = bytes.substr(0, used);
  if (piece.kind == Piece::Kind::body) {
    if (starts_exec_ && exec_.size() <= exec_limit) exec_ += piece.bytes;
    if (piece.last) end_body();
  }
  bytes.remove_prefix(used);
  return piece;
}

}  // namespace cl
