#include "vm/image/download.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cmath>

#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/unique_fd.hpp"
#include "vm/hash.hpp"

namespace cl {
namespace json = boost::json;
namespace {

using Say = std::function<void(std::string_view)>;
using Clock = std::chrono::steady_clock;
constexpr std::size_t piece = 256 * 1024;
constexpr auto say_every = std::chrono::milliseconds(500);

/// What the part on the disk came from.
struct Origin {
  std::string url, validator;
};

fs::path origin_path(const fs::path& part) { return part.string() + ".from"; }

std::optional<Origin> read_origin(const fs::path& part) {
  error_code ec;
  const json::value value = json::parse(read_file_if_exists(origin_path(part)).value_or(""), ec);
  const json::object* object = ec ? nullptr : value.if_object();
  if (object == nullptr) return std::nullopt;
  Origin origin;
  for (const auto& [name, field] : {std::pair{"url", &origin.url}, {"validator", &origin.validator}})
    if (const json::value* found = object->if_contains(name); found != nullptr && found->is_string())
      *field = found->get_string();
  return origin;
}

void write_origin(const fs::path& part, const Origin& origin) {
  const json::object object{{"url", origin.url}, {"validator", origin.validator}};
  write_atomically(origin_path(part), json::serialize(object) + "\n");
}

std::uint64_t size_of(const fs::path& path) {
  std::error_code ec;
  const auto size = fs::file_size(path, ec);
  return ec ? 0 : size;
}

Error no_space(const fs::path& part, std::uint64_t needed) {
  const fs::path directory = part.parent_path();
  return Error(Errc::host_requirement, "too little space to download an image",
               "free some space there, or remove old images with 'colima-like image prune'")
      .because(fmt::format("{} has {} free, and {} are needed", directory.string(),
                           ByteSize::bytes(free_space(directory)).str(), ByteSize::bytes(needed).str()));
}

/// Something that no other attempt at this URL will cure.
Error given_up(const std::string& url, std::string_view why) {
  return Error(Errc::not_found, "cannot download " + url, "check the URL").because(why);
}

bool may_pass(const Error& error) {
  return error.code() == Errc::io || error.code() == Errc::timed_out || error.code() == Errc::protocol;
}

bool may_pass(unsigned status) { return status == 408 || status == 425 || status == 429 || status >= 500; }

/// One download from its first attempt to its last.
class Attempts {
 public:
  Attempts(Download what, Say say) : what_(std::move(what)), say_(std::move(say)) {}

  asio::awaitable<void> run() {
    while (!what_.urls.empty()) {
      const std::string url = what_.urls.front();
      std::optional<Error> failure;
      try {
        co_await fetch(url);
        co_await check(url);
        co_return;
      } catch (const Error& error) {
        failure = error;
      }
      co_await judge(*failure);
    }
    throw *last_;
  }

 private:
  /// Decides what a failure means: another attempt, another URL, or the end.
  asio::awaitable<void> judge(Error failure) {
    log::warn("download: {}", one_line(failure));
    last_ = failure;
    const std::uint64_t have = size_of(what_.part);
    if (no_space_) throw failure;
    if (!may_pass(failure) || wrong_for_good_) {
      wrong_for_good_ = false;
      what_.urls.erase(what_.urls.begin());
      co_return;
    }
    // Progress is what lies on the disk beyond all that lay there before.
    failures_ = have > furthest_ ? 1 : failures_ + 1;
    furthest_ = std::max(furthest_, have);
    if (failures_ >= what_.patience)
      throw Error(Errc::io, "cannot download " + what_.title,
                  "check the network and the proxy variables; the next try goes on where this one ended")
          .because(one_line(failure));
    std::rotate(what_.urls.begin(), what_.urls.begin() + 1, what_.urls.end());
    const auto pause = std::max<std::chrono::milliseconds>(
        std::min(what_.first_pause * (1 << std::min(failures_ - 1, 10)), what_.longest_pause),
        std::min<std::chrono::milliseconds>(retry_after_, std::chrono::minutes(1)));
    retry_after_ = std::chrono::seconds(0);
    say_(fmt::format("{}: {}; trying again", what_.title, one_line(failure)));
    co_await sleep_for(pause);
  }

  /// Asks for what is missing and writes it down to the end of the body.
  asio::awaitable<void> fetch(std::string url) {
    const auto parsed = parse_url(url);
    if (!parsed) throw given_up(url, "it is no http or https URL");
    const std::string shown = parsed->str();
    HttpRequest request{*parsed, size_of(what_.part), {}};
    const auto origin = read_origin(what_.part);
    // Of a part that came from elsewhere the digest decides in the end.
    if (origin && origin->url == shown) request.unchanged = origin->validator;
    const std::uint64_t asked = request.offset;
    say_(fmt::format("asking {} for {}", parsed->authority(), what_.title));
    const auto reply = co_await http_get(std::move(request), what_.http);
    const HttpAnswer& answer = reply->answer();
    pieced_ = answer.status != 200;
    if (asked > 0 && answer.status == 416) {
      // Longer than the file is there, or just as long. The digest tells, and after it the next attempt.
      const bool right = co_await is_right();
      if (right) co_return;
      forget_download(what_.part);
      furthest_ = 0;
      throw Error(Errc::protocol, shown + " has no bytes where this part ends");
    }
    if (answer.status != 200 && answer.status != 206) {
      const std::string status = fmt::format("the server answers with status {}", answer.status);
      retry_after_ = answer.retry_after;
      if (!may_pass(answer.status)) throw given_up(shown, status);
      throw Error(Errc::io, "cannot download " + shown).because(status);
    }
    std::uint64_t from = 0;
    if (answer.status == 206) {
      from = *answer.first;
      if (from != asked) throw Error(Errc::protocol, shown + " sends another part than it was asked for");
    }
    std::optional<std::uint64_t> total = answer.total;
    if (!total && answer.length) total = from + *answer.length;
    require(shown, from, total);
    if (from == 0 && asked > 0) say_(fmt::format("{} sends {} from its start", parsed->authority(), what_.title));
    co_await write_down(*reply, from, total, shown);
  }

  void require(const std::string& shown, std::uint64_t from, std::optional<std::uint64_t> total) {
    if (total && *total > what_.most.count())
      throw given_up(
          shown, fmt::format("it has {}, and at most {} are taken", ByteSize::bytes(*total).str(), what_.most.str()));
    const std::uint64_t needed = (total ? *total - std::min(*total, from) : 0) + what_.spare.count();
    // What a restart from 0 will give back counts as free.
    const std::uint64_t returned = from == 0 ? allocated_bytes(what_.part) : 0;
    no_space_ = free_space(what_.part.parent_path()) + returned < needed;
    if (no_space_) throw no_space(what_.part, needed);
  }

  asio::awaitable<void> write_down(HttpReply& reply, std::uint64_t from, std::optional<std::uint64_t> total,
                                   std::string shown) {
    UniqueFd fd(::open(what_.part.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (from == 0 ? O_TRUNC : 0), 0600));
    if (!fd) throw file_error("open", what_.part, errno);
    write_origin(what_.part, Origin{shown, reply.answer().validator()});
    std::uint64_t at = from;
    Rate rate;
    rate.add(Clock::now(), at);
    Clock::time_point said{};
    std::vector<char> space(piece);
    for (;;) {
      const std::size_t got = co_await reply.read_some(space);
      if (got == 0) break;
      if (at + got > what_.most.count()) {
        forget_download(what_.part);
        throw given_up(shown, "it does not end at " + what_.most.str());
      }
      write_at(fd.get(), std::string_view(space.data(), got), at);
      at += got;
      const auto now = Clock::now();
      rate.add(now, at);
      if (now - said < say_every) continue;
      said = now;
      say_(fmt::format("downloading {}: {}", what_.title, progress_text(at, total, rate.per_second())));
    }
    if (::fsync(fd.get()) != 0) throw file_error("write", what_.part, errno);
  }

  void write_at(int fd, std::string_view bytes, std::uint64_t at) {
    while (!bytes.empty()) {
      const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) {
        const int saved = errno;
        no_space_ = saved == ENOSPC || saved == EDQUOT;
        if (no_space_) throw no_space(what_.part, what_.spare.count());
        throw file_error("write", what_.part, saved);
      }
      bytes.remove_prefix(static_cast<std::size_t>(put));
      at += static_cast<std::uint64_t>(put);
    }
  }

  asio::awaitable<bool> is_right() {
    say_("checking " + what_.title);
    found_ = co_await file_digest(what_.part, what_.digest.algorithm);
    co_return found_ == what_.digest.hex;
  }

  /// The body ended as it should. If it is not the file that was asked for, it goes.
  asio::awaitable<void> check(std::string url) {
    const bool right = co_await is_right();
    if (right) co_return;
    forget_download(what_.part);
    furthest_ = 0;
    const Error wrong =
        Error(Errc::protocol, parse_url(url)->str() + " is not the file that was asked for",
              "take the digest from whoever publishes the file; if it is right, somebody has changed the file")
            .because(fmt::format("its digest is {}:{} and not {}", what_.digest.algorithm, found_, what_.digest.str()));
    // Pieces of two files may have met in it: once more, from the start. What came in one piece will not change.
    constexpr int most_restarts = 2;
    wrong_for_good_ = !pieced_ || restarts_++ >= most_restarts;
    throw wrong;
  }

  Download what_;
  Say say_;
  std::optional<Error> last_;
  bool pieced_ = false;  ///< the file on the disk did not come in one piece
  int restarts_ = 0;     ///< because of a wrong digest
  std::string found_;    ///< the digest that was found
  int failures_ = 0;
  std::uint64_t furthest_ = 0;
  std::chrono::seconds retry_after_{0};
  bool no_space_ = false;
  bool wrong_for_good_ = false;  ///< this URL has another file
};

}  // namespace

void forget_download(const fs::path& part) {
  std::error_code ec;
  fs::remove(origin_path(part), ec);
  fs::remove(part, ec);
}

void Rate::add(Time now, std::uint64_t bytes_so_far) {
  constexpr auto window = std::chrono::seconds(5);
  seen_.emplace_back(now, bytes_so_far);
  while (seen_.size() > 2 && now - seen_.front().first > window) seen_.pop_front();
  // A look a tenth of a second apart is enough: fast downloads would keep thousands.
  if (seen_.size() > 2 && seen_.back().first - seen_[seen_.size() - 3].first < std::chrono::milliseconds(100))
    seen_.erase(seen_.end() - 2);
}

double Rate::per_second() const {
  if (seen_.size() < 2 || seen_.back().second <= seen_.front().second) return 0;
  const double seconds = std::chrono::duration<double>(seen_.back().first - seen_.front().first).count();
  return seconds < 0.1 ? 0 : static_cast<double>(seen_.back().second - seen_.front().second) / seconds;
}

std::string progress_text(std::uint64_t have, std::optional<std::uint64_t> total, double per_second) {
  std::string text = ByteSize::bytes(have).str();
  if (total && *total > 0)
    text += fmt::format(" of {} ({}%)", ByteSize::bytes(*total).str(),
                        static_cast<int>(100.0 * static_cast<double>(have) / static_cast<double>(*total)));
  if (per_second <= 0) return text;
  text += fmt::format(", {}/s", ByteSize::bytes(static_cast<std::uint64_t>(per_second)).str());
  if (!total || *total < have) return text;
  const auto left = static_cast<std::uint64_t>(std::ceil(static_cast<double>(*total - have) / per_second));
  if (left < 100) return text + fmt::format(", {} s left", left);
  if (left < 6000) return text + fmt::format(", {} min left", (left + 59) / 60);
  return text + fmt::format(", {} h left", (left + 3599) / 3600);
}

asio::awaitable<void> download(Download what, Say say) {
  if (!say) say = [](std::string_view) {};
  Attempts attempts(std::move(what), std::move(say));
  co_await attempts.run();
}

}  // namespace cl
