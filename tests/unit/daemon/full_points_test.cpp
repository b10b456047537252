#include <gtest/gtest.h>

#include <cerrno>

#include "tests/fakes/failing_files.hpp"
#include "tests/unit/daemon/session_lab.hpp"

// What KillPoints is for processes that die, this is for disks that are full: every call that writes fails once, and
// from every one on all fail. Whatever the order says then, a plain start works as soon as the disk does, and nothing
// was lost.

namespace cl {
namespace {

using test::FailingFiles;
using test::outcome;
using test::SessionLab;

struct Order {
  const char* name;
  bool started, suspended;  ///< before the disk is full
  std::shared_ptr<Job> (*give)(Session&);
};

const std::vector<Order> orders{
    {"start", false, false, [](Session& session) { return session.start({}); }},
    {"suspend", true, false, [](Session& session) { return session.suspend(); }},
    {"resume", true, true, [](Session& session) { return session.start({}); }},
    {"stop", true, false, [](Session& session) { return session.stop(false); }},
    {"apply", true, false, [](Session& session) { return session.apply({{"idle", "7m"}}); }},
    {"delete", true, false, [](Session& session) { return session.remove(false); }},
};

constexpr int never = 1'000'000;

struct Outcome {
  int calls = 0;
  std::string problem;  ///< what was not as it should be
};

/// The disk fails at the call number `first` of the order; then it works again.
asio::awaitable<Outcome> play(SessionLab& lab, const Order& order, int first, int error, FailingFiles::Mode mode) {
  Outcome seen;
  auto session = co_await lab.open();
  if (order.started) co_await outcome(session->start({}));
  if (order.suspended) co_await outcome(session->suspend());
  {
    const FailingFiles full(lab.directory.path(), first, error, mode);
    co_await outcome(order.give(*session));
    seen.calls = full.calls();
  }
  if (!is_stable(session->phase())) seen.problem = "left " + std::string(to_string(session->phase()));
  const bool deleted = !fs::exists(lab.paths.config);
  if (!deleted) {
    const std::string again = co_await outcome(session->start({}));
    if (!again.empty()) seen.problem += "; start: " + again;
    if (!is<phase::Running>(session->phase())) seen.problem += "; not running";
    if (!session->unsaved().empty()) seen.problem += "; not saved: " + session->unsaved();
    if (seen.problem.empty() && lab.saved_state()->phase != "running") seen.problem += "; status is wrong";
    const std::string stopped = co_await outcome(session->stop(false));
    if (!stopped.empty()) seen.problem += "; stop: " + stopped;
  }
  if (lab.runs()) seen.problem += "; a machine is left";
  if (order.started && !fs::exists(lab.paths.data_disk)) seen.problem += "; the data is lost";
  co_await SessionLab::close(std::move(session));
  co_return seen;
}

class FullPoints : public ::testing::TestWithParam<std::tuple<std::size_t, int, FailingFiles::Mode>> {};

TEST_P(FullPoints, AreLeftByAPlainStart) {
  const auto [index, error, mode] = GetParam();
  const Order& order = orders[index];
  SessionLab undisturbed;
  const Outcome all = test::run(play(undisturbed, order, never, error, mode));
  EXPECT_EQ(all.problem, "");
  ASSERT_GT(all.calls, 3) << "next to nothing is written: this test would notice nothing";
  for (int first = 1; first <= all.calls; ++first) {
    SessionLab lab;
    const Outcome seen = test::run(play(lab, order, first, error, mode));
    EXPECT_EQ(seen.problem, "") << order.name << ", call " << first << " of " << all.calls;
  }
}

INSTANTIATE_TEST_SUITE_P(
    OfEachOrder, FullPoints,
    ::testing::Combine(::testing::Range<std::size_t>(0, 6), ::testing::Values(ENOSPC, EIO, EROFS, EMFILE),
                       ::testing::Values(FailingFiles::Mode::once, FailingFiles::Mode::from_on)),
    [](const auto& values) {
      const int error = std::get<1>(values.param);
      const std::string name = error == ENOSPC ? "ENOSPC" : error == EIO ? "EIO" : error == EROFS ? "EROFS" : "EMFILE";
      return std::string(orders[std::get<0>(values.param)].name) + "_" + name +
             (std::get<2>(values.param) == FailingFiles::Mode::once ? "_once" : "_from_on");
    });

}  // namespace
}  // namespace cl
