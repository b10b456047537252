#include "src/daemon/services/trim.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>
#include <utility>

#include "src/base/blocking.hpp"
#include "src/base/failure.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"

namespace cl {
namespace {

constexpr std::string_view mount_point = "/var/lib/colima-like";  // vm/guest_image: data-disk
constexpr auto answer = std::chrono::seconds(10);                 // to a question of some milliseconds
constexpr std::size_t longest_answer = 200;                       // of what goes to the log

using FileTime = fs::file_time_type;

/// When the file was written last; the beginning of time for one that is not there.
FileTime written_at(const fs::path& file) {
  std::error_code ignored;
  const FileTime at = fs::last_write_time(file, ignored);
  return ignored ? FileTime::min() : at;
}

asio::awaitable<FileTime> last_written(fs::path file) {
  auto look = [file = std::move(file)] { return written_at(file); };
  co_return co_await blocking(std::move(look));
}

asio::awaitable<std::uint64_t> allocated(fs::path file) {
  auto look = [file = std::move(file)] { return allocated_bytes(file); };
  co_return co_await blocking(std::move(look));
}

/// SIZE - FREE in "disk MOUNT_POINT SIZE FREE" (docs/agent.md, "Statistics").
std::optional<std::uint64_t> used_of(std::string_view statistics) {
  const std::string begin = "disk " + std::string(mount_point) + " ";
  const auto at = statistics.starts_with(begin) ? 0 : statistics.find("\n" + begin);
  if (at == std::string_view::npos) return std::nullopt;
  const char* from = statistics.data() + at + begin.size() + (at == 0 ? 0 : 1);
  const char* const end = statistics.data() + statistics.size();
  std::uint64_t size = 0, free = 0;
  const auto [space, bad] = std::from_chars(from, end, size);
  if (bad != std::errc{} || space == end || *space != ' ') return std::nullopt;
  if (std::from_chars(space + 1, end, free).ec != std::errc{} || free > size) return std::nullopt;
  return size - free;
}

std::int64_t excess(std::uint64_t allocated, std::uint64_t used) noexcept {
  return static_cast<std::int64_t>(allocated) - static_cast<std::int64_t>(used);
}

}  // namespace

bool TrimPolicy::worth_asking(FileTime written) {
  const bool asleep = written_ == written && passes_ == 0 && !open_;
  written_ = written;
  open_ = !asleep;
  return !asleep;
}

bool TrimPolicy::due(std::uint64_t allocated, std::uint64_t used) const noexcept {
  return !left_ || excess(allocated, used) > *left_ + slack;
}

void TrimPolicy::passed(std::uint64_t allocated, std::uint64_t used) noexcept {
  open_ = false;
  if (++passes_ < 2) return;
  left_ = excess(allocated, used);
  passes_ = 0;
}

asio::awaitable<void> TrimService::ready() {
  if (tasks_ || !core_.driver->traits().own_machine) co_return;
  supported_ = true;
  tasks_ = std::make_unique<TaskGroup>(core_.executor);
  core_.spawn_permanent(*tasks_, "trimming the data disk", follow());
}

asio::awaitable<void> TrimService::close() {
  const auto tasks = std::exchange(tasks_, nullptr);
  if (tasks) co_await tasks->stop();
}

asio::awaitable<void> TrimService::follow() {
  constexpr auto longest_pause = std::chrono::milliseconds(std::chrono::minutes(10));  // after failures in a row
  auto pause = core_.parts.trim.look;
  for (;;) {
    co_await sleep_for(pause);
    if (!is<phase::Running>(core_.phase()) || !core_.guest.connected() || !supported_) continue;
    const auto failure = co_await failure_of(look());
    pause = failure ? std::min(2 * pause, longest_pause) : core_.parts.trim.look;
    std::string trouble = failure ? one_line(*failure) : "";
    if (!trouble.empty() && trouble != trouble_) log::warn("the data disk is not trimmed: {}", trouble);
    trouble_ = std::move(trouble);
  }
}

asio::awaitable<void> TrimService::look() {
  const FileTime written = co_await last_written(core_.paths.data_disk);
  if (!policy_.worth_asking(written)) co_return;
  const std::uint64_t in_use = co_await used();
  const std::uint64_t taken = co_await allocated(core_.paths.data_disk);
  if (!policy_.due(taken, in_use)) co_return policy_.quiet();
  co_await wait_until_quiet();
  co_await pass(in_use);
}

asio::awaitable<void> TrimService::wait_until_quiet() {
  const auto quiet = core_.parts.trim.quiet;
  for (int i = 0; i < core_.parts.trim.patience; ++i) {
    if (FileTime::clock::now() - co_await last_written(core_.paths.data_disk) >= quiet) co_return;
    co_await sleep_for(quiet);
  }
}

/// What is freed meanwhile, and too late for this pass, must not be taken for what the file system takes itself.
asio::awaitable<void> TrimService::pass(std::uint64_t used_before) {
  const std::uint64_t before = co_await allocated(core_.paths.data_disk);
  auto work = ask("trim " + std::string(mount_point));
  const std::string said = co_await with_timeout(core_.parts.trim.pass, "trimming the data disk", std::move(work));
  if (said.find(" ok ") == std::string::npos) {
    supported_ = said.find("not supported") == std::string::npos;  // EOPNOTSUPP in the guest's words
    throw Error(Errc::guest_failed, "the guest's file system cannot be trimmed")
        .because(said.substr(0, longest_answer));
  }
  const std::uint64_t in_use = std::max(used_before, co_await used());
  const std::uint64_t after = co_await allocated(core_.paths.data_disk);
  policy_.passed(after, in_use);
  if (before > after) log::info("the data disk is trimmed: {} came back", ByteSize::bytes(before - after).str());
}

asio::awaitable<std::uint64_t> TrimService::used() {
  const std::string said = co_await with_timeout(answer, "the guest's statistics", ask("statistics"));
  const auto found = used_of(said);
  if (!found) throw Error(Errc::guest_failed, "the guest tells nothing of its data disk");
  co_return *found;
}

/// All that a service of the agent says.
asio::awaitable<std::string> TrimService::ask(std::string what) {
  const auto link = core_.guest.link();
  if (!link) throw Error(Errc::not_running, "the machine is not up");
  const auto guest = co_await link->guest(answer);
  const auto service = co_await guest->open_service(std::move(what));
  co_return co_await read_to_end(*service);
}

asio::awaitable<void> TrimService::before_stop() {
  if (!tasks_) co_return;
  co_await close();
  if (core_.guest.connected() && supported_)
    co_await attempt("trimming the data disk", with_timeout(core_.parts.trim.before_stop, "a trim", last_pass()));
}

asio::awaitable<void> TrimService::last_pass() {
  const FileTime written = co_await last_written(core_.paths.data_disk);
  if (!policy_.worth_asking(written)) co_return;
  const std::uint64_t in_use = co_await used();
  const std::uint64_t taken = co_await allocated(core_.paths.data_disk);
  if (excess(taken, in_use) < 2 * TrimPolicy::slack || !policy_.due(taken, in_use)) co_return;
  // What was freed a moment ago can be trimmed once that is committed.
  co_await ask("sync " + std::string(mount_point));
  co_await pass(in_use);
}

}  // namespace cl
