#include "src/daemon/services/bound_files.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "profiles/runtime.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/base/path.hpp"
#include "src/daemon/core.hpp"
#include "src/shares/events.hpp"

namespace cl {
namespace {

constexpr auto answer = std::chrono::seconds(10);
constexpr auto again = std::chrono::seconds(5);  // after the agent was lost, or where there is none

}  // namespace

BoundFiles::BoundFiles(Core& core) : core_(core), changed_(core.executor) {}

asio::awaitable<void> BoundFiles::ready() {
  if (tasks_ || !runtime_of(core_.state().profile).speaks_docker) co_return;
  tasks_ = std::make_unique<TaskGroup>(core_.executor);
  core_.spawn_permanent(*tasks_, "files that containers mount", follow(*tasks_));
}

asio::awaitable<void> BoundFiles::close() {
  const auto tasks = std::exchange(tasks_, nullptr);
  if (tasks) co_await tasks->stop();
  wanted_.clear();
}

void BoundFiles::set_containers(const boost::json::array& containers) {
  const auto& shares = core_.state().shares;
  auto is_shared = [&shares](const std::string& path) {
    return std::any_of(shares.begin(), shares.end(), [&path](const ShareState& share) {
      return share.type == "virtiofs" && path != share.mount_point && is_below(path, share.mount_point);
    });
  };
  std::set<std::string> wanted;
  for (std::string& path : bound_paths(containers))
    if (is_shared(path)) wanted.insert(std::move(path));
  if (wanted == wanted_) return;
  wanted_ = std::move(wanted);
  changed_.notify_all();
}

asio::awaitable<void> BoundFiles::follow(TaskGroup& tasks) {
  for (;;) {
    while (wanted_.empty()) co_await changed_.wait();
    while (!is<phase::Running>(core_.phase())) co_await core_.changed();
    if (const auto failure = co_await failure_of(hold(tasks)))
      log::debug("files that containers mount: {}", one_line(*failure));
    co_await sleep_for(again);
  }
}

asio::awaitable<void> BoundFiles::hold(TaskGroup& tasks) {
  const auto guest = co_await core_.guest.reach(answer);
  const std::shared_ptr<MessageStream> agent = co_await guest->open_service("hold");
  const auto ended = std::make_shared<bool>(false);
  core_.spawn_watch(tasks, "the agent that holds files", notice_end(agent, ended));
  std::set<std::string> held;
  while (!*ended) {
    const std::set<std::string> wanted = wanted_;
    for (const std::string& path : held)
      if (!wanted.contains(path)) co_await agent->write("-" + path);
    for (const std::string& path : wanted)
      if (!held.contains(path)) co_await agent->write("+" + path);
    held = wanted;
    while (wanted == wanted_ && !*ended) co_await changed_.wait();
  }
}

asio::awaitable<void> BoundFiles::notice_end(std::shared_ptr<MessageStream> agent, std::shared_ptr<bool> ended) {
  auto read = [](MessageStream& from) -> asio::awaitable<void> {
    while (co_await from.read()) {
    }
  };
  co_await failure_of(read(*agent));
  *ended = true;
  changed_.notify_all();
}

}  // namespace cl
