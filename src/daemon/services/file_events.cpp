#include "src/daemon/services/file_events.hpp"

#include <utility>

#include "profiles/runtime.hpp"
#include "src/daemon/core.hpp"

namespace cl {

asio::awaitable<void> FileEventService::open() {
  if (events_ || !runtime_of(core_.state().profile).speaks_docker) co_return;
  ShareEvents::Config config;
  config.guest = [this] { return core_.guest.reach_for_client(); };
  config.excluded = {core_.home.profiles, core_.home.cache};
  config.on_change = [this] { core_.describe(*this); };
  events_ = std::make_unique<ShareEvents>(core_.executor, std::move(config));
  update();
}

asio::awaitable<void> FileEventService::ready() {
  update();
  if (events_) events_->resume();
  co_return;
}

asio::awaitable<void> FileEventService::quiesce() {
  if (events_) co_await events_->pause();
}

asio::awaitable<void> FileEventService::resume() {
  if (events_) events_->resume();
  co_return;
}

asio::awaitable<void> FileEventService::close() {
  const auto events = std::exchange(events_, nullptr);
  if (events) co_await events->stop();
}

void FileEventService::describe(State& state) const {
  const ShareEvents::Report now = events_ ? events_->report() : ShareEvents::Report{};
  state.event_folders = static_cast<int>(now.folders);
  state.event_precision = now.precision;
  state.event_problem = now.remedy.empty() ? now.problem : now.problem + "; " + now.remedy;
}

/// Shares that are not there at the moment count, too: they may come back.
void FileEventService::update() {
  if (!events_) return;
  std::vector<SharedTree> trees;
  if (core_.state().profile.file_events)
    for (const ShareState& share : core_.state().shares)
      trees.push_back({share.location, share.mount_point, {share.hidden.begin(), share.hidden.end()}});
  events_->set_shares(std::move(trees));
}

void FileEventService::set_containers(const boost::json::array& containers) {
  if (events_) events_->set_containers(containers);
}

}  // namespace cl
