#include <gtest/gtest.h>

#include "docker/api.hpp"
#include "src/forward/socket_forward.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/integration/docker_engine.hpp"

/// The real docker CLI through our socket to a real dockerd on this host.
namespace cl::test {
namespace {

class DockerForward : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = no_dockerd(); !why.empty()) GTEST_SKIP() << why;
    try {
      engine_.emplace();
      run(engine_->import_image(), 60s);
      const Finished plain = run(plain_run(), 60s);
      if (!plain.status.ok()) GTEST_SKIP() << "dockerd cannot run containers here: " << plain.errors;
    } catch (const Error& error) {
      GTEST_SKIP() << one_line(error);
    }
  }
  asio::awaitable<Finished> plain_run() {
    std::vector<std::string> arguments{"run", "--rm", "--network=none", "busybox-test", "/bin/echo", "fit"};
    Finished finished = co_await cl::run(engine_->cli(engine_->socket(), arguments), "", 60s);
    co_return finished;
  }
  fs::path ours() const { return engine_->directory() / "ours.sock"; }
  Command docker(const std::vector<std::string>& arguments) const { return engine_->cli(ours(), arguments); }

  /// Runs `work` with a forward to dockerd's socket listening at ours().
  template <class T>
  T with_forward(std::function<asio::awaitable<T>(SocketForward&)> work) {
    return run(forwarded<T>(std::move(work)), 100s);
  }

  std::optional<Dockerd> engine_;

 private:
  template <class T>
  asio::awaitable<T> forwarded(std::function<asio::awaitable<T>(SocketForward&)> work) {
    auto executor = co_await asio::this_coro::executor;
    const fs::path engine = engine_->socket();
    SocketForward forward(executor, ours(), [engine] { return connect_unix(engine); });
    std::exception_ptr failure;
    std::optional<T> result;
    try {
      result = co_await work(forward);
    } catch (...) {
      failure = std::current_exception();
    }
    co_await forward.stop();
    if (failure) std::rethrow_exception(failure);
    co_return std::move(*result);
  }
};

std::string summary(const Finished& finished) {
  return finished.status.str() + "\n" + finished.output + finished.errors;
}

asio::awaitable<void> until_closed(SocketForward& forward) {
  while (forward.counters().connections > 0) co_await sleep_for(2ms);
}

TEST_F(DockerForward, CarriesTheVersionForTheCliAndForOurOwnRequests) {
  const Finished cli = with_forward<Finished>([this](SocketForward&) -> asio::awaitable<Finished> {
    Finished finished =
        co_await cl::run(docker({"version", "--format", "{{.Server.Version}} {{.Server.Os}}"}), "", 30s);
    co_return finished;
  });
  const docker::Version own = with_forward<docker::Version>([this](SocketForward&) -> asio::awaitable<docker::Version> {
    const auto stream = co_await connect_unix(ours());
    co_await docker::ping(*stream);
    co_return co_await docker::version(*stream);
  });
  EXPECT_EQ(cli.output, own.version + " " + own.os + "\n") << cli.errors;
  EXPECT_EQ(own.os, "linux");
  EXPECT_FALSE(own.api_version.empty() || own.arch.empty());
}

TEST_F(DockerForward, RunsAContainerAndEndsItsInputAndPassesItsExitCode) {
  using Results = std::array<Finished, 3>;
  const Results got = with_forward<Results>([this](SocketForward&) -> asio::awaitable<Results> {
    Results results;
    const std::vector<std::string> begin{"run", "--rm", "-i", "--network=none", "busybox-test"};
    auto with = [&](std::vector<std::string> more) {
      more.insert(more.begin(), begin.begin(), begin.end());
      return docker(more);
    };
    const Command echo = with({"/bin/echo", "hello"}), cat = with({"/bin/cat"}),
                  code = with({"/bin/sh", "-c", "cat >&2; exit 7"});
    const std::string large(3 << 20, 'x');
    results[0] = co_await cl::run(echo, "", 60s);
    results[1] = co_await cl::run(cat, large, 60s);
    results[2] = co_await cl::run(code, "to stderr", 60s);
    co_return results;
  });
  EXPECT_EQ(got[0].output, "hello\n") << summary(got[0]);
  EXPECT_TRUE(got[1].output == std::string(3 << 20, 'x')) << got[1].output.size() << got[1].errors;
  EXPECT_EQ(got[2].status.code, 7) << summary(got[2]);
  EXPECT_EQ(got[2].errors, "to stderr");
}

TEST_F(DockerForward, ExecutesWithInputInARunningContainer) {
  const Finished got = with_forward<Finished>([this](SocketForward&) -> asio::awaitable<Finished> {
    const Command start = docker({"run", "-d", "--name=box", "--network=none", "busybox-test", "/bin/sleep", "1000"});
    const Command exec = docker({"exec", "-i", "box", "/bin/cat"});
    const Finished started = co_await cl::run(start, "", 60s);
    if (!started.status.ok()) co_return started;
    Finished finished = co_await cl::run(exec, "through exec", 60s);
    co_return finished;
  });
  EXPECT_EQ(got.output, "through exec") << summary(got);
}

TEST_F(DockerForward, EndsTheEnginesSideWhenAFollowerIsKilled) {
  const std::string got = with_forward<std::string>([this](SocketForward& forward) -> asio::awaitable<std::string> {
    auto executor = co_await asio::this_coro::executor;
    const Command start = docker({"run", "-d", "--name=box", "--network=none", "busybox-test", "/bin/sh", "-c",
                                  "echo first line; exec sleep 1000"});
    const Command follow = docker({"logs", "--follow", "box"});
    co_await cl::run(start, "", 60s);
    co_await until_closed(forward);
    Event seen(executor);
    std::string line;
    OnLine on_line = [&](std::string_view text) {
      line = text;
      seen.set();
    };
    auto following = asio::experimental::make_parallel_group(
        asio::co_spawn(executor, cl::run(follow, "", 60s, on_line), asio::deferred),
        asio::co_spawn(executor, seen.wait(), asio::deferred));
    // The first to end is the line; the follower is killed then.
    co_await following.async_wait(asio::experimental::wait_for_one(), asio::as_tuple(asio::use_awaitable));
    co_await with_timeout(20s, "the end of the connection", until_closed(forward));
    co_return line;
  });
  EXPECT_EQ(got, "first line");
}

TEST_F(DockerForward, EndsTheClientWhenTheEngineIsKilled) {
  const Finished got = with_forward<Finished>([this](SocketForward& forward) -> asio::awaitable<Finished> {
    auto executor = co_await asio::this_coro::executor;
    const Command events = docker({"events"});
    auto kill_engine = [](SocketForward* all, Dockerd* engine) -> asio::awaitable<void> {
      // The event stream has begun once more than the request has come back.
      while (all->counters().connections == 0 || all->counters().to_clients == 0) co_await sleep_for(2ms);
      engine->kill(SIGKILL);
    };
    auto both = asio::experimental::make_parallel_group(
        asio::co_spawn(executor, cl::run(events, "", 60s), asio::deferred),
        asio::co_spawn(executor, kill_engine(&forward, &*engine_), asio::deferred));
    auto [order, failure, finished, kill_failure] =
        co_await both.async_wait(asio::experimental::wait_for_all(), asio::use_awaitable);
    if (failure) std::rethrow_exception(failure);
    co_return std::move(finished);
  });
  EXPECT_FALSE(got.status.ok()) << summary(got);
  EXPECT_EQ(got.status.signal, 0) << "it had to be killed";
}

TEST_F(DockerForward, BuildsSavesAndLoadsAnImageIntact) {
  using Ids = std::array<std::string, 3>;
  std::ofstream(engine_->directory() / "Dockerfile")
      << "FROM busybox-test\nCOPY Dockerfile /copied\nCMD [\"/bin/cat\", \"/copied\"]\n";
  const Ids got = with_forward<Ids>([this](SocketForward&) -> asio::awaitable<Ids> {
    Ids ids;
    fs::create_directory(engine_->directory() / "context");
    fs::rename(engine_->directory() / "Dockerfile", engine_->directory() / "context/Dockerfile");
    const Command build = docker({"build", "--quiet", "--tag=built", (engine_->directory() / "context").string()});
    const Command save = docker({"save", "built"}), remove = docker({"rmi", "built", "busybox-test"}),
                  load = docker({"load", "--quiet"}), id = docker({"images", "--no-trunc", "--quiet", "built"}),
                  show = docker({"run", "--rm", "--network=none", "built"});
    const Finished built = co_await cl::run(build, "", 60s);
    ids[0] = built.output + built.errors;
    const Finished saved = co_await cl::run(save, "", 60s);
    co_await cl::run(remove, "", 60s);
    const Finished loaded = co_await cl::run(load, saved.output, 60s);
    const Finished listed = co_await cl::run(id, "", 60s);
    ids[1] = listed.output;
    const Finished shown = co_await cl::run(show, "", 60s);
    ids[2] = shown.output;
    co_return ids;
  });
  EXPECT_NE(got[1], "");
  EXPECT_NE(got[0].find(got[1]), std::string::npos) << got[0] << " is not " << got[1];
  EXPECT_EQ(got[2].substr(0, 17), "FROM busybox-test");
}

asio::awaitable<void> ps_into(Command command, std::string& output) {
  const Finished finished = co_await cl::run(std::move(command), "", 90s);
  output = summary(finished);
}

TEST_F(DockerForward, ServesFiftyClientsAtOnce) {
  const std::string wrong = with_forward<std::string>([this](SocketForward& forward) -> asio::awaitable<std::string> {
    auto executor = co_await asio::this_coro::executor;
    std::array<std::string, 50> outputs;
    TaskGroup clients(executor);
    for (std::string& output : outputs) {
      const Command ps = docker({"ps", "--format", "{{.Names}}"});
      clients.spawn("docker ps", ps_into(ps, output));
    }
    while (clients.size() > 0) co_await sleep_for(5ms);
    co_await with_timeout(20s, "the end of the connections", until_closed(forward));
    std::string bad;
    for (const std::string& output : outputs)
      if (output != "exit code 0\n") bad += output;
    if (forward.counters().accepted < outputs.size()) bad += "they did not all come through the forward";
    co_return bad;
  });
  EXPECT_EQ(wrong, "");
}

asio::awaitable<std::unique_ptr<ByteStream>> connect_split(fs::path path) {
  auto whole = co_await connect_unix(std::move(path));
  co_return choppy(std::move(whole), Chop{1, 1});
}

asio::awaitable<Finished> over_split_stream(Command command, fs::path ours, fs::path engine) {
  auto executor = co_await asio::this_coro::executor;
  SocketForward forward(executor, ours, [engine] { return connect_split(engine); });
  Finished finished = co_await cl::run(std::move(command), "split to bytes", 60s);
  co_await forward.stop();
  co_return finished;
}

TEST_F(DockerForward, WorksOverAStreamThatSplitsEverything) {
  const Command cat = docker({"run", "--rm", "-i", "--network=none", "busybox-test", "/bin/cat"});
  const Finished got = run(over_split_stream(cat, ours(), engine_->socket()), 90s);
  EXPECT_EQ(got.output, "split to bytes") << summary(got);
}

asio::awaitable<Finished> docker_while_down(std::vector<std::string> arguments, std::string input) {
  auto executor = co_await asio::this_coro::executor;
  TempDir dir;
  auto fail = []() -> asio::awaitable<std::unique_ptr<ByteStream>> {
    throw Error(Errc::not_running, "the machine is not running", "Run 'colima-like start'").because("it was stopped");
    co_return nullptr;
  };
  SocketForward forward(executor, dir / "docker.sock", fail);
  Command command;
  command.argv = std::move(arguments);
  command.argv.insert(command.argv.begin(), "docker");
  command.environment = {"DOCKER_HOST=unix://" + (dir / "docker.sock").string(), "DOCKER_CONFIG=" + dir.path().string(),
                         "DOCKER_CONTEXT"};
  Finished finished = co_await cl::run(std::move(command), std::move(input), 30s);
  co_await forward.stop();
  co_return finished;
}

TEST(DockerForwardDown, ShowsTheReasonInTheDockerCli) {
  if (!find_program("docker")) GTEST_SKIP() << "docker is not installed";
  const std::string reason = "the machine is not running: it was stopped. Run 'colima-like start'";
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"ps"}, {"run", "--rm", "some-image"}, {"exec", "-i", "box", "sh"}, {"load"}}) {
    const Finished finished = run(docker_while_down(arguments, std::string(1 << 20, 'x')), 40s);
    EXPECT_FALSE(finished.status.ok()) << arguments[0];
    EXPECT_NE(finished.errors.find(reason), std::string::npos) << arguments[0] << ": " << summary(finished);
  }
}

}  // namespace
}  // namespace cl::test
