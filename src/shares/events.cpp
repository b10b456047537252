#include "src/shares/events.hpp"

#include <algorithm>
#include <boost/json/object.hpp>
#include <set>
#include <utility>

#include "src/base/blocking.hpp"
#include "src/base/json.hpp"
#include "src/base/log.hpp"

namespace cl {
namespace json = boost::json;
namespace {

namespace fs = std::filesystem;

std::string plain(const fs::path& path) {
  std::string text = path.lexically_normal().string();
  if (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

/// What follows `folder` in `path`: "" for the folder itself, else "/...". Both plain.
std::optional<std::string_view> rest_below(std::string_view path, std::string_view folder) {
  if (folder == "/") return path == "/" ? std::string_view() : path;
  if (!path.starts_with(folder)) return std::nullopt;
  path.remove_prefix(folder.size());
  if (!path.empty() && path.front() != '/') return std::nullopt;
  return path;
}

std::string joined(const std::string& folder, std::string_view rest) {
  if (folder != "/") return folder + std::string(rest);
  return rest.empty() ? folder : std::string(rest);
}

/// Nothing when it is not there.
asio::awaitable<std::optional<fs::path>> without_links(fs::path path) {
  auto follow = [path]() -> std::optional<fs::path> {
    std::error_code missing;
    fs::path real = fs::canonical(path, missing);
    if (missing) return std::nullopt;
    return real;
  };
  co_return co_await look_at(path, std::move(follow));
}

}  // namespace

std::vector<std::string> bound_paths(const json::array& containers) {
  std::set<std::string> found;
  for (const json::value& container : containers) {
    const json::value* mounts = container.is_object() ? container.get_object().if_contains("Mounts") : nullptr;
    if (mounts == nullptr || !mounts->is_array()) continue;
    for (const json::value& mount : mounts->get_array()) {
      if (!mount.is_object() || text_at(mount.get_object(), "Type") != "bind") continue;
      if (const std::string_view source = text_at(mount.get_object(), "Source"); source.starts_with('/'))
        found.insert(plain(fs::path(source)));
    }
  }
  return {found.begin(), found.end()};
}

asio::awaitable<std::optional<fs::path>> host_path(std::string guest_path, std::vector<SharedTree> shares) {
  // Of shares within shares the innermost is what the guest sees.
  const SharedTree* innermost = nullptr;
  std::string_view rest;
  for (const SharedTree& share : shares) {
    const std::string guest = plain(share.guest);
    const auto below = rest_below(guest_path, guest);
    if (!below || (innermost != nullptr && plain(innermost->guest).size() > guest.size())) continue;
    innermost = &share;
    rest = *below;
  }
  if (innermost == nullptr) co_return std::nullopt;
  co_return co_await without_links(joined(plain(innermost->host), rest));
}

std::vector<std::string> guest_paths(const std::string& host_path, const std::vector<SharedTree>& shares) {
  std::vector<std::string> found;
  for (const SharedTree& share : shares) {
    const bool hidden = std::any_of(share.hidden.begin(), share.hidden.end(), [&host_path](const fs::path& path) {
      return rest_below(host_path, plain(path)).has_value();
    });
    const auto rest = rest_below(host_path, plain(share.host));
    if (rest && !hidden) found.push_back(joined(plain(share.guest), *rest));
  }
  return found;
}

std::vector<fs::path> outermost(std::vector<fs::path> folders) {
  std::sort(folders.begin(), folders.end());
  std::vector<fs::path> kept;
  for (fs::path& folder : folders)  // sorted: a folder comes directly before all that is below it
    if (kept.empty() || !rest_below(folder.string(), kept.back().string())) kept.push_back(std::move(folder));
  return kept;
}

ShareEvents::ShareEvents(asio::any_io_executor executor, Config config)
    : config_(std::move(config)),
      events_(executor, FileEvents::Config{
                            config_.guest, [this] { tell_report(); },
                            [this](FileEvents::WallClock::time_point since) { watch_.look_for_changes_since(since); }}),
      watch_(executor,
             FileWatch::Config{config_.excluded, [this](std::vector<FileChange> changes) { take(std::move(changes)); },
                               [this] { tell_report(); }}),
      changed_(executor),
      tasks_(executor) {
  tasks_.spawn("folders that containers mount", keep_up());
}

void ShareEvents::set_shares(std::vector<SharedTree> shares) {
  wanted_ = std::move(shares);
  stale_ = true;
  changed_.notify_all();
}

void ShareEvents::set_containers(const json::array& containers) {
  bound_ = bound_paths(containers);
  stale_ = true;
  changed_.notify_all();
}

asio::awaitable<void> ShareEvents::keep_up() {
  for (;;) {
    while (!std::exchange(stale_, false)) co_await changed_.wait();
    co_await update();
  }
}

/// The user's paths may hang. One that does not answer is left out and reported.
asio::awaitable<void> ShareEvents::update() {
  std::vector<SharedTree> shares = wanted_;
  const std::vector<std::string> bound = bound_;
  std::optional<Error> unanswered;
  for (SharedTree& share : shares) {
    try {
      if (auto real = co_await without_links(share.host)) share.host = std::move(*real);
    } catch (const Error& error) {
      unanswered = error;
    }
  }
  if (!unanswered_ && !unanswered && shares == shares_ && bound == watched_bound_) co_return;
  std::vector<fs::path> folders;
  for (const std::string& path : bound) {
    try {
      auto folder = co_await host_path(path, shares);
      if (folder && !guest_paths(folder->string(), shares).empty()) folders.push_back(std::move(*folder));
    } catch (const Error& error) {
      unanswered = error;
    }
  }
  shares_ = std::move(shares);
  watched_bound_ = bound;
  unanswered_ = std::move(unanswered);
  folders = outermost(std::move(folders));
  folders_ = folders.size();
  for (const fs::path& folder : folders) log::debug("file events: watching {}", folder.string());
  watch_.set_trees(std::move(folders));
  tell_report();
}

void ShareEvents::take(std::vector<FileChange> changes) {
  std::vector<FileChange> seen;
  for (const FileChange& change : changes) {
    std::vector<std::string> to = guest_paths(change.path, shares_);
    std::vector<std::string> from;
    if (change.kind == FileChange::Kind::moved) from = guest_paths(change.from, shares_);
    for (std::size_t i = 0; i < to.size(); ++i) {
      FileChange one = change;
      one.path = std::move(to[i]);
      one.from.clear();
      if (change.kind == FileChange::Kind::moved) {
        // Two shares are two file systems in the guest, and nothing can be moved between those.
        if (from.size() != to.size())
          one.kind = FileChange::Kind::created;
        else
          one.from = from[i];
      }
      seen.push_back(std::move(one));
    }
    if (change.kind == FileChange::Kind::moved && from.size() != to.size())
      for (const std::string& path : from) seen.push_back({FileChange::Kind::removed, path, {}, change.directory});
  }
  events_.tell(std::move(seen));
}

void ShareEvents::tell_report() {
  const FileWatch::Status status = watch_.status();
  Report now{folders_, events_.precision(), status.problem, status.remedy};
  if (now.problem.empty() && unanswered_) {
    now.problem = one_line(*unanswered_);
    now.remedy = unanswered_->remedy();
  }
  if (now.problem.empty()) now.problem = events_.problem();
  if (now == report_) return;
  report_ = std::move(now);
  if (config_.on_change) config_.on_change();
}

asio::awaitable<void> ShareEvents::pause() { co_await events_.pause(); }

asio::awaitable<void> ShareEvents::stop() {
  co_await tasks_.stop();
  co_await watch_.stop();
  co_await events_.stop();
}

}  // namespace cl
