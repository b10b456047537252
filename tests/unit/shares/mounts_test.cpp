#include "src/shares/mounts.hpp"

#include <gtest/gtest.h>

#include "tests/support/run.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;

/// Runs nothing, but remembers that it was asked.
class DeafGuest : public Guest {
 public:
  explicit DeafGuest(std::vector<std::string>& log) : log_(log) {}
  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest) override {
    log_.push_back("exec");
    throw Error(Errc::guest_failed, "deaf");
    co_return nullptr;
  }
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string) override {
    throw Error(Errc::guest_failed, "deaf");
  }
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string, std::uint16_t) override {
    throw Error(Errc::guest_failed, "deaf");
  }
  asio::awaitable<void> lost() override { co_return; }

 private:
  std::vector<std::string>& log_;
};

/// What the transports of a test do, and what became of them.
struct Stage {
  explicit Stage(const asio::any_io_executor& executor) : break_now(executor) {}
  std::vector<std::string> log;
  std::string refusal;  ///< of the next mounts; empty: they succeed
  Notifier break_now;   ///< every share that is mounted is lost
};

class FakeTransport : public ShareTransport {
 public:
  FakeTransport(Stage& stage, ShareState share, std::shared_ptr<Event> lost)
      : stage_(stage), share_(std::move(share)), lost_(std::move(lost)) {}
  asio::awaitable<std::string> serve(std::shared_ptr<Guest>, std::function<void()> on_mounted) override {
    stage_.log.push_back("mount " + share_.mount_point + " " + share_.type);
    if (!stage_.refusal.empty()) throw Error(Errc::guest_failed, stage_.refusal);
    on_mounted();
    if (share_.type == "virtiofs") {
      co_await lost_->wait();
    } else {
      co_await stage_.break_now.wait();
    }
    co_return "it died";
  }

 private:
  Stage& stage_;
  ShareState share_;
  std::shared_ptr<Event> lost_;
};

ShareState share(const std::string& path, const std::string& type = "sshfs") {
  ShareState one;
  one.location = one.written = one.mount_point = path;
  one.type = type;
  if (type == "virtiofs") one.tag = "tag" + path.substr(1);
  return one;
}

GuestShares::Config config_for(Stage& stage) {
  GuestShares::Config config;
  config.guest = [&stage]() -> asio::awaitable<std::shared_ptr<Guest>> {
    co_return std::make_shared<DeafGuest>(stage.log);
  };
  config.transport = [&stage](const ShareState& state, std::shared_ptr<Event> lost) {
    return std::make_unique<FakeTransport>(stage, state, std::move(lost));
  };
  config.sftp = [] { return SftpPrograms{"/sftp-server", "", "/confine"}; };
  config.pause = 1ms;
  config.longest_pause = 4ms;
  config.patience = 50ms;
  return config;
}

std::string told(const GuestShares& shares) {
  std::string text;
  for (const ShareState& one : shares.states())
    text += one.mount_point + " " + one.type + (one.problem.empty() ? "" : " !" + one.problem) + "\n";
  return text;
}

using Log = std::vector<std::string>;

TEST(GuestShares, MountsInOrderAndOnce) {
  auto work = []() -> asio::awaitable<std::pair<std::string, Log>> {
    const auto executor = co_await asio::this_coro::executor;
    Stage stage(executor);
    GuestShares shares(executor, config_for(stage));
    const std::vector<ShareState> wanted{share("/a"), share("/a/b", "virtiofs")};
    auto again = wanted;
    co_await shares.reconcile(wanted);
    co_await shares.reconcile(std::move(again));
    std::string text = told(shares);
    co_await shares.stop();
    co_return std::pair(std::move(text), stage.log);
  };
  const auto [text, log] = test::run(work());
  EXPECT_EQ(text, "/a sshfs\n/a/b virtiofs\n");
  EXPECT_EQ(log, (Log{"mount /a sshfs", "mount /a/b virtiofs"}));
}

TEST(GuestShares, OneThatFailsSaysWhyAndIsTriedAgain) {
  auto work = []() -> asio::awaitable<std::vector<std::string>> {
    const auto executor = co_await asio::this_coro::executor;
    Stage stage(executor);
    stage.refusal = "no such device";
    GuestShares shares(executor, config_for(stage));
    std::vector<ShareState> wanted{share("/a"), share("/b")};
    wanted.back().problem = "cannot be";
    co_await shares.reconcile(std::move(wanted));
    std::vector<std::string> texts{told(shares), shares.complete() ? "complete" : "incomplete"};
    stage.refusal.clear();
    while (told(shares) == texts.front()) co_await sleep_for(1ms);
    texts.insert(texts.end(), {told(shares), shares.complete() ? "complete" : "incomplete"});
    co_await shares.stop();
    co_return texts;
  };
  EXPECT_EQ(test::run(work()), (Log{"/a sshfs !no such device\n/b sshfs !cannot be\n", "incomplete",
                                    "/a sshfs\n/b sshfs !cannot be\n", "complete"}));
}

TEST(GuestShares, OneThatIsLostIsMountedAgainAndTold) {
  auto work = []() -> asio::awaitable<Log> {
    const auto executor = co_await asio::this_coro::executor;
    Stage stage(executor);
    Log told_texts;
    GuestShares* all = nullptr;
    auto config = config_for(stage);
    config.on_change = [&] { told_texts.push_back(told(*all)); };
    GuestShares shares(executor, std::move(config));
    all = &shares;
    std::vector<ShareState> wanted{share("/a")};
    co_await shares.reconcile(std::move(wanted));
    stage.break_now.notify_all();
    while (stage.log.size() < 2 || told(shares) != "/a sshfs\n") co_await sleep_for(1ms);
    co_await shares.stop();
    co_return told_texts;
  };
  const Log texts = test::run(work());
  EXPECT_NE(std::find(texts.begin(), texts.end(), "/a sshfs !it died; it is being mounted again\n"), texts.end());
}

TEST(GuestShares, ADeadDeviceGoesOnBySshfsAndTheOthersAsTheyWere) {
  auto work = []() -> asio::awaitable<std::pair<std::string, std::string>> {
    const auto executor = co_await asio::this_coro::executor;
    Stage stage(executor);
    GuestShares shares(executor, config_for(stage));
    std::vector<ShareState> wanted{share("/a", "virtiofs"), share("/b", "virtiofs")};
    auto again = wanted;
    co_await shares.reconcile(std::move(wanted));
    shares.server_lost("taga");
    while (told(shares) != "/a sshfs\n/b virtiofs\n") co_await sleep_for(1ms);
    std::string why = shares.states()[0].why;
    co_await shares.reconcile(std::move(again));  // as a later `apply` would: the device is still dead
    std::string text = told(shares);
    co_await shares.stop();
    co_return std::pair(std::move(text), std::move(why));
  };
  const auto [text, why] = test::run(work());
  EXPECT_EQ(text, "/a sshfs\n/b virtiofs\n");
  EXPECT_NE(why.find("until the next start"), std::string::npos) << why;
}

TEST(GuestShares, WhatIsNotWantedAnyMoreIsUnmountedAndWhatHasAProblemOnlyListed) {
  auto work = []() -> asio::awaitable<std::pair<std::string, Log>> {
    const auto executor = co_await asio::this_coro::executor;
    Stage stage(executor);
    GuestShares shares(executor, config_for(stage));
    std::vector<ShareState> first{share("/a"), share("/b")};
    co_await shares.reconcile(std::move(first));
    ShareState away = share("/c");
    away.problem = "it is away";
    std::vector<ShareState> second{share("/b"), away};
    co_await shares.reconcile(std::move(second));
    std::string text = told(shares);
    co_await shares.stop();
    co_return std::pair(std::move(text), stage.log);
  };
  const auto [text, log] = test::run(work());
  EXPECT_EQ(text, "/b sshfs\n/c sshfs !it is away\n");
  EXPECT_EQ(log, (Log{"mount /a sshfs", "mount /b sshfs", "exec"}));
}

}  // namespace
}  // namespace cl
