#include "docker/bound_volumes.hpp"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "src/base/task_group.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

namespace json = boost::json;

const std::string engines_volumes = R"({"Volumes": [
  {"Name": "shared", "Driver": "local", "Options": {"type": "none", "o": "ro,bind", "device": "/home/u/x"}},
  {"Name": "plain", "Driver": "local", "Options": null},
  {"Name": "nfs", "Driver": "local", "Options": {"type": "nfs", "o": "addr=1.2.3.4", "device": ":/x"}},
  {"Name": "other", "Driver": "cloud", "Options": {"o": "bind", "device": "/x"}}]})";

/// Containers that mount these volumes, one each, and a folder.
json::array mounting(const std::vector<std::string>& names) {
  json::array containers{json::parse(R"({"Id": "1", "Mounts": [{"Type": "bind", "Source": "/a"}]})"), "nonsense",
                         json::object{{"Mounts", "nonsense"}}};
  for (const std::string& name : names)
    containers.push_back(json::object{
        {"Id", name}, {"Mounts", json::array{json::object{{"Type", "volume"}, {"Name", name}, {"Source", ""}}}}});
  return containers;
}

/// "TYPE SOURCE" of each mount.
std::string mounts(const json::array& containers) {
  std::string all;
  for (const json::value& container : containers)
    if (container.is_object() && container.at("Mounts").is_array())
      for (const json::value& mount : container.at("Mounts").as_array())
        all += std::string(mount.at("Type").as_string()) + " " + std::string(mount.at("Source").as_string()) + "\n";
  return all;
}

struct Engine {
  explicit Engine(asio::any_io_executor executor) : tasks(executor) {
    auto ends = MemoryStream::pair(executor);
    client = std::move(ends.first);
    server = std::move(ends.second);
    tasks.spawn("engine", serve());
  }
  asio::awaitable<void> serve() {
    std::array<char, 4096> space;
    while (co_await server->read_some(space) > 0) {
      ++asked;
      const std::string answer =
          "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(engines_volumes.size()) + "\r\n\r\n" + engines_volumes;
      co_await server->write(answer);
    }
  }
  int asked = 0;
  std::unique_ptr<MemoryStream> client, server;
  TaskGroup tasks;
};

TEST(BoundVolumes, AreTheFoldersTheyAre) {
  auto work = []() -> asio::awaitable<void> {
    Engine engine(co_await asio::this_coro::executor);
    BoundVolumes volumes;
    json::array all = mounting({"shared", "plain", "nfs", "other", "gone"});
    co_await volumes.resolve(*engine.client, all);
    EXPECT_EQ(mounts(all), "bind /a\nbind /home/u/x\nvolume \nvolume \nvolume \nvolume \n");
    co_await engine.tasks.stop();
  };
  run(work());
}

TEST(BoundVolumes, AreAskedForOnceUntilNobodyMountsThem) {
  auto work = []() -> asio::awaitable<void> {
    Engine engine(co_await asio::this_coro::executor);
    BoundVolumes volumes;
    std::vector<std::string> names;
    auto resolve = [&]() -> asio::awaitable<int> {
      json::array all = mounting(names);
      co_await volumes.resolve(*engine.client, all);
      co_return engine.asked;
    };
    EXPECT_EQ(co_await resolve(), 0);
    names = {"shared", "plain"};
    EXPECT_EQ(co_await resolve(), 1);
    EXPECT_EQ(co_await resolve(), 1);
    names = {"plain"};
    EXPECT_EQ(co_await resolve(), 1);
    names = {"shared", "plain"};
    EXPECT_EQ(co_await resolve(), 2) << "it may be another one by now";
    co_await engine.tasks.stop();
  };
  run(work());
}

}  // namespace
}  // namespace cl::test
