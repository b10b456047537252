#include "src/shares/file_events.hpp"

#include <algorithm>
#include <utility>

#include "provision/channel/protocol.hpp"
#include "src/base/log.hpp"

namespace cl {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t path_limit = 4095;      // PATH_MAX without its end
constexpr std::size_t changes_at_once = 512;  // so that what comes meanwhile can still be merged
constexpr auto answer_limit = 60s;            // for one message: a slow file system, under emulation
constexpr auto pause_limit = 5s;
constexpr auto longest_pause = 30s;

void put(std::string& to, std::size_t number, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) to += static_cast<char>(number >> shift & 0xff);
}

}  // namespace

std::vector<std::string> encode_changes(std::span<const FileChange> changes) {
  std::vector<std::string> messages;
  for (const FileChange& change : changes) {
    if (change.path.size() > path_limit || change.from.size() > path_limit) continue;
    std::string record(1, static_cast<char>(change.kind));
    put(record, (change.directory ? 1U : 0U) | (change.content ? 2U : 0U), 1);
    put(record, change.path.size(), 2);
    record += change.path;
    put(record, change.from.size(), 2);
    record += change.from;
    if (messages.empty() || messages.back().size() + record.size() > agent::most_data) messages.emplace_back();
    messages.back() += record;
  }
  return messages;
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
    co_await with_timeout(pause_limit, "the agent's file events", quiet());
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

/// Throws when the guest or its agent is lost. What was sent and not acknowledged is then sent again.
asio::awaitable<void> FileEvents::tell_all(Guest& guest) {
  const auto service = co_await guest.open_service("files");
  const std::string precision = co_await read_word(*service);
  if (precision != "exact" && precision != "near")
    throw Error(Errc::protocol, "the agent in the guest speaks nonsense of file events");
  set(precision_, precision);
  reached_ = true;
  for (;;) {
    co_await wait_for_changes();
    if (std::exchange(lost_, false)) config_.look_again(since_);
    if (sent_.empty()) sent_ = waiting_.take(changes_at_once);
    if (sent_.empty()) continue;
    exchanging_ = true;
    for (const std::string& message : encode_changes(sent_)) {
      co_await service->write(message);
      auto answer = read_word(*service);
      const std::string said =
          co_await with_timeout(answer_limit, "telling the guest of changed files", std::move(answer));
      if (said != "ok") throw Error(Errc::protocol, "the agent in the guest speaks nonsense of file events");
    }
    sent_.clear();
    exchanging_ = false;
    set(problem_, "");
    changed_.notify_all();
  }
}

asio::awaitable<std::string> FileEvents::read_word(MessageStream& service) {
  auto word = co_await service.read();
  if (!word) throw Error(Errc::guest_failed, "the agent in the guest tells of changed files no more");
  co_return std::move(*word);
}

}  // namespace cl
