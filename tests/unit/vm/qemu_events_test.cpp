// What QEMU tells by itself, by a stand-in that answers every command and sends what the test wants.
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "src/base/child.hpp"
#include "src/base/task_group.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"
#include "vm/qemu/machine.hpp"

namespace cl {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using Unix = asio::local::stream_protocol;

/// A control socket, and a process that can be killed.
class FakeQemu {
 public:
  explicit FakeQemu(const asio::any_io_executor& executor)
      : acceptor_(executor, Unix::endpoint(socket().string())), peer_(executor), asked_(executor), tasks_(executor) {
    Command command;
    command.argv = {"sleep", "60"};
    process.emplace(Child::start(executor, command));
    tasks_.spawn("the stand-in", serve());
  }

  std::filesystem::path socket() const { return directory_ / "qmp.sock"; }
  asio::awaitable<void> tell(std::string event) {
    event += "\n";
    co_await asio::async_write(peer_, asio::buffer(event), asio::use_awaitable);
  }
  asio::awaitable<void> asked_for(std::string command) {
    while (last_ != command) co_await asked_.wait();
  }
  asio::awaitable<std::unique_ptr<QemuMachine>> machine() {
    const auto executor = co_await asio::this_coro::executor;
    auto news = std::make_shared<QemuNews>(executor);
    auto control = co_await QmpClient::connect(socket(), 5s, record_news(news));
    const pid_t pid = process->pid();
    std::optional<Child> child = std::exchange(process, std::nullopt);
    co_return std::make_unique<QemuMachine>(executor, directory_.path(), pid, std::move(child), std::move(control),
                                            std::move(news), std::vector<ShareServer>{});
  }
  asio::awaitable<void> stop() {
    if (process) {
      process->kill(SIGKILL);
      co_await process->wait();
    }
    co_await tasks_.stop();
  }

  std::optional<Child> process;

 private:
  asio::awaitable<void> serve() {
    peer_ = co_await acceptor_.async_accept(asio::use_awaitable);
    co_await tell(R"({"QMP": {"version": {}, "capabilities": []}})");
    std::string text;
    for (;;) {
      const std::size_t size =
          co_await asio::async_read_until(peer_, asio::dynamic_buffer(text), '\n', asio::use_awaitable);
      const json::value call = json::parse(text.substr(0, size));
      text.erase(0, size);
      last_ = call.at("execute").as_string();
      asked_.notify_all();
      co_await tell(json::serialize(json::object{{"return", json::object{}}, {"id", call.at("id")}}));
    }
  }

  test::TempDir directory_;
  Unix::acceptor acceptor_;
  Unix::socket peer_;
  std::string last_;
  Notifier asked_;
  TaskGroup tasks_;
};

constexpr const char* disk_full =
    R"({"event": "BLOCK_IO_ERROR", "data": {"device": "", "node-name": "data", "operation": "write", "action": "stop",
        "nospace": true, "reason": "No space left on device"}})";
constexpr const char* root_disk_full =
    R"({"event": "BLOCK_IO_ERROR", "data": {"device": "", "node-name": "root", "operation": "write", "action": "stop",
        "nospace": true, "reason": "No space left on device"}})";
constexpr const char* only_reported =
    R"({"event": "BLOCK_IO_ERROR", "data": {"device": "", "node-name": "data", "operation": "read", "action": "report",
        "nospace": false, "reason": "Input/output error"}})";

/// One line, as QEMU sends it.
std::string event(const char* text) { return json::serialize(json::parse(text)); }

asio::awaitable<std::string> full_disk() {
  FakeQemu qemu(co_await asio::this_coro::executor);
  const auto machine = co_await qemu.machine();
  co_await qemu.tell(event(only_reported));
  co_await qemu.tell(event(disk_full));
  co_await qemu.tell(R"({"event": "STOP"})");
  const std::string first = co_await machine->blocked();
  co_await qemu.tell(R"({"event": "RESUME"})");
  co_await qemu.tell(event(root_disk_full));
  std::string second = first;
  while (second == first) {  // until the stand-in's words are read
    co_await sleep_for(1ms);
    second = co_await machine->blocked();
  }
  std::string seen = first + "; " + second;
  machine->kill();
  co_await machine->exited();
  seen += (co_await machine->blocked()).empty() ? "; gone" : "; blocked";
  co_await qemu.stop();
  co_return seen;
}

TEST(QemuEvents, TellThatADiskOfThisComputerIsFullAndThatItGoesOn) {
  EXPECT_EQ(test::run(full_disk()),
            "the disk data: No space left on device; the disk root: No space left on device; gone");
}

asio::awaitable<std::string> killed_while_it_saves() {
  FakeQemu qemu(co_await asio::this_coro::executor);
  const auto machine = co_await qemu.machine();
  TaskGroup tasks(co_await asio::this_coro::executor);
  std::string failure;
  auto save = [&]() -> asio::awaitable<void> {
    try {
      co_await machine->save("/nowhere/memory");
    } catch (const Error& error) {
      failure = error.what();
    }
  };
  tasks.spawn("save", save());
  co_await qemu.asked_for("migrate");
  machine->kill();
  while (tasks.size() > 0) co_await sleep_for(1ms);
  co_await machine->exited();
  co_await qemu.stop();
  co_return failure;
}

TEST(QemuEvents, AKillEndsASaveThatIsUnderWay) {
  EXPECT_EQ(test::run(killed_while_it_saves()), "QEMU was ended meanwhile");
}

asio::awaitable<std::string> nonsense(std::string event) {
  FakeQemu qemu(co_await asio::this_coro::executor);
  auto refuse = [](std::string_view, const json::object& data) { data.at("status").as_string(); };
  const auto client = co_await QmpClient::connect(qemu.socket(), 5s, refuse);
  co_await qemu.tell(std::move(event));
  co_await client->closed();
  std::string cause;
  try {
    co_await client->execute("query-status");
  } catch (const Error& error) {
    cause = error.cause();
  }
  co_await qemu.stop();
  co_return cause;
}

TEST(QemuEvents, WhatCannotBeUnderstoodEndsTheConnectionWithTheReason) {
  EXPECT_TRUE(test::run(nonsense(R"({"event": "MIGRATION", "data": {"status": 7}})"))
                  .starts_with("QEMU sent what cannot be understood: "));
}

asio::awaitable<std::string> half_an_event() {
  FakeQemu qemu(co_await asio::this_coro::executor);
  const auto machine = co_await qemu.machine();
  for (const char* text : {R"({"event": "MIGRATION", "data": {"status": 7}})", R"({"event": "MIGRATION"})",
                           R"({"event": "BLOCK_IO_ERROR", "data": {"action": "stop", "nospace": "yes"}})"})
    co_await qemu.tell(event(text));
  const std::string why = co_await machine->blocked();
  machine->kill();
  co_await machine->exited();
  co_await qemu.stop();
  co_return why;
}

TEST(QemuEvents, MayLackWhatIsUsual) {
  EXPECT_EQ(test::run(half_an_event()), "the disk of the machine: an error of this computer's disk");
}

}  // namespace
}  // namespace cl
