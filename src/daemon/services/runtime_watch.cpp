#include "src/daemon/services/runtime_watch.hpp"

#include <chrono>
#include <sstream>
#include <utility>

#include "profiles/runtime.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"

namespace cl {
namespace {

constexpr auto answer = std::chrono::seconds(10);
constexpr auto between = std::chrono::milliseconds(500);  // two notes, each of which is written to this computer's disk
constexpr auto again = std::chrono::seconds(5);           // after the agent was lost, or where there is none

}  // namespace

std::string unit_problem(std::string_view unit, std::string_view line) {
  std::istringstream words{std::string(line)};
  std::string name, active, sub, result;
  words >> name >> active >> sub >> result;
  if (name != unit) return "";
  const bool is_word = !result.empty() && result.find_first_not_of("abcdefghijklmnopqrstuvwxyz-") == std::string::npos;
  if (active == "failed") return name + " has failed" + (is_word ? " (" + result + ")" : "");
  if (active == "inactive") return name + " is stopped";
  return "";
}

asio::awaitable<void> RuntimeWatch::ready() {
  const std::string unit(runtime_of(core_.state().profile).unit);
  if (tasks_ && unit == unit_) co_return;
  co_await close();
  core_.describe(*this);
  unit_ = unit;
  if (unit.empty()) co_return;
  tasks_ = std::make_unique<TaskGroup>(core_.executor);
  core_.spawn_permanent(*tasks_, "watching the runtime's service", follow(unit));
}

asio::awaitable<void> RuntimeWatch::close() {
  const auto tasks = std::exchange(tasks_, nullptr);
  if (tasks) co_await tasks->stop();
  problem_.clear();
}

void RuntimeWatch::describe(State& state) const { state.runtime_problem = problem_; }

asio::awaitable<void> RuntimeWatch::follow(std::string unit) {
  for (;;) {
    while (!is<phase::Running>(core_.phase())) co_await core_.changed();
    if (const auto failure = co_await failure_of(listen(unit))) log::debug("{}: {}", unit, one_line(*failure));
    co_await sleep_for(again);
  }
}

asio::awaitable<void> RuntimeWatch::listen(std::string unit) {
  const auto guest = co_await core_.guest.reach(answer);
  const auto service = co_await guest->open_service("units " + unit);
  while (const auto line = co_await service->read()) {
    if (!is<phase::Running>(core_.phase())) co_return;  // a stop of the machine ends it, too
    note(unit_problem(unit, *line));
    co_await sleep_for(between);
  }
}

void RuntimeWatch::note(std::string problem) {
  if (problem == problem_) return;
  if (problem.empty()) log::info("the runtime's service runs again");
  if (!problem.empty()) log::warn("in the machine {}", problem);
  problem_ = std::move(problem);
  core_.describe(*this);
}

}  // namespace cl
