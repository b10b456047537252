#include "src/shares/file_events.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "src/base/log.hpp"

namespace cl {

extern const std::string_view file_events_script;

namespace {

using namespace std::chrono_literals;

constexpr std::size_t path_limit = 4095;      // PATH_MAX without its end
constexpr std::size_t changes_at_once = 512;  // so that what comes meanwhile can still be merged
constexpr std::size_t frame_limit = 4096;     // of the helper's, which are words
constexpr auto answer_limit = 60s;            // for one frame of ours: a slow file system, under emulation
constexpr auto pause_limit = 5s;
constexpr auto longest_pause = 30s;

void put(std::string& to, std::size_t number, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) to += static_cast<char>(number >> shift & 0xff);
}

}  // namespace

std::string encode_changes(std::span<const FileChange> changes) {
  std::string records = "b";
  for (const FileChange& change : changes) {
    if (change.path.size() > path_limit || change.from.size() > path_limit) continue;
    records += static_cast<char>(change.kind);
    put(records, (change.directory ? 1U : 0U) | (change.content ? 2U : 0U), 1);
    put(records, change.path.size(), 2);
    records += change.path;
    put(records, change.from.size(), 2);
    records += change.from;
  }
  std::string frame;
  put(frame, records.size(), 4);
  return frame + records;
}

std::optional<HelperFrame> take_helper_frame(std::string& unread) {
  if (unread.size() < 4) return std::nullopt;
  std::size_t size = 0;
  for (int i = 0; i < 4; ++i) size = size << 8 | static_cast<unsigned char>(unread[static_cast<std::size_t>(i)]);
  if (size == 0 || size > frame_limit)
    throw Error(Errc::protocol, "the helper for file events in the guest speaks nonsense");
  if (unread.size() < 4 + size) return std::nullopt;
  HelperFrame frame{unread[4], unread.substr(5, size - 1)};
  unread.erase(0, 4 + size);
  return frame;
}

FileEvents::FileEvents(asio::any_io_executor executor, Config config)
    : config_(std::move(config)), since_(WallClock::now()), changed_(executor), tasks_(executor) {
  tasks_.spawn("file events for the guest", keep_telling());
}

void FileEvents::tell(std::vector<FileChange> changes) {
  if (lost_) return;
  if (waiting_.empty() && sent_.empty()) since_ = WallClock::now();
  for (FileChange& change : changes) waiting_.add(std::move(change));
  if (waiting_.size() > config_.most_waiting) {
    log::info("file events: more than {} wait for the guest; what has changed is looked for later",
              config_.most_waiting);
    lost_ = true;
    waiting_.clear();
  }
  changed_.notify_all();
}

asio::awaitable<void> FileEvents::pause() {
  paused_ = true;
  auto quiet = [this]() -> asio::awaitable<void> {
    while (exchanging_) co_await changed_.wait();
  };
  try {
    co_await with_timeout(pause_limit, "the helper for file events", quiet());
  } catch (const Error& error) {
    log::warn("{}", one_line(error));
  }
}

void FileEvents::resume() {
  paused_ = false;
  changed_.notify_all();
}

void FileEvents::set(std::string& into, std::string value) {
  if (value == into) return;
  into = std::move(value);
  if (config_.on_change) config_.on_change();
}

asio::awaitable<void> FileEvents::wait_for_changes() {
  while (paused_ || (waiting_.empty() && sent_.empty() && !lost_)) co_await changed_.wait();
}

asio::awaitable<void> FileEvents::keep_telling() {
  auto pause = config_.reconnect;
  for (;;) {
    co_await wait_for_changes();
    std::shared_ptr<Guest> guest;
    try {
      guest = co_await config_.guest();
      co_await tell_all(*guest);
    } catch (const Error& error) {
      log::info("file events: {}; again soon", one_line(error));
      if (guest) set(problem_, one_line(error));
    }
    if (reached_) pause = config_.reconnect;
    reached_ = exchanging_ = false;
    changed_.notify_all();
    co_await sleep_for(pause);
    pause = std::min<std::chrono::milliseconds>(pause * 2, longest_pause);
  }
}

/// Until the guest or the helper in it is lost, which throws. What was sent and not acknowledged is sent again then.
asio::awaitable<void> FileEvents::tell_all(Guest& guest) {
  ExecRequest request;
  request.command = "exec perl -e '" + std::string(file_events_script) + "'";
  auto helper = co_await guest.exec(std::move(request));
  std::string unread;
  const HelperFrame hello = co_await read_frame(*helper, unread);
  set(precision_, hello.payload);
  reached_ = true;
  for (;;) {
    co_await wait_for_changes();
    if (std::exchange(lost_, false)) config_.look_again(since_);
    if (sent_.empty()) sent_ = waiting_.take(changes_at_once);
    if (sent_.empty()) continue;
    exchanging_ = true;
    const std::string frame = encode_changes(sent_);
    co_await helper->io().write(frame);
    auto answer = read_frame(*helper, unread);
    co_await with_timeout(answer_limit, "telling the guest of changed files", std::move(answer));
    sent_.clear();
    exchanging_ = false;
    set(problem_, "");
    changed_.notify_all();
  }
}

asio::awaitable<HelperFrame> FileEvents::read_frame(GuestProcess& helper, std::string& unread) {
  std::array<char, 256> space;
  for (;;) {
    if (auto frame = take_helper_frame(unread)) co_return std::move(*frame);
    const std::size_t got = co_await helper.io().read_some(space);
    if (got == 0) break;
    unread.append(space.data(), got);
  }
  const std::size_t got = co_await helper.read_errors(space);
  throw Error(Errc::guest_failed, "the helper for file events in the guest ended", "is perl there?")
      .because(std::string(space.data(), got));
}

}  // namespace cl
