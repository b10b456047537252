#include <signal.h>

#include <boost/json.hpp>

#include "src/base/file.hpp"
#include "tests/e2e/shared_machine.hpp"

// The command as hands know it: the sequence of Colima's own integration script with this program in Colima's place,
// and the verbs that a session with containers needs.

namespace cl::e2e {
namespace {

std::string native_arch() {
#if defined(__aarch64__)
  return "arm64";
#else
  return "amd64";
#endif
}

/// colima/integration/test.sh, line by line, for the docker runtime on this computer's architecture.
TEST(ColimasScript, PassesWithThisProgram) {
  Sandbox box;
  const std::string name = "itest-docker";
  auto colima = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"-p", name});
    return box.cl(std::move(words), {}, boot_limit);
  };
  ASSERT_OK(colima({"delete", "-f"}));
  const Result started = colima({"start", "--arch", native_arch(), "--runtime", "docker"});
  ASSERT_OK(started);
  EXPECT_EQ(started.err.find('\r'), std::string::npos) << "there is no terminal";
  EXPECT_LE(std::count(started.err.begin(), started.err.end(), '\n'), 25) << "a line a phase: " << started;
  EXPECT_OK(box.docker({"ps"}));
  EXPECT_OK(box.docker({"info"}));
  const Result name_of_host = colima({"ssh", "--", "sh", "-c", "nslookup host.docker.internal"});
  EXPECT_OK(name_of_host);
  EXPECT_NE(name_of_host.out.find("10.0.2.2"), std::string::npos) << name_of_host;
  const fs::path context = box.busybox_tree();
  write_atomically(context / "Dockerfile",
                   "FROM scratch\nCOPY bin /bin\nRUN [\"/bin/busybox\", \"touch\", \"/built\"]\n");
  EXPECT_OK(box.docker({"build", "-t", "built", context.string()}, {}, boot_limit));
  for (const char* tool : {"ip addr", "ss -tln", "curl --version", "top -bn1", "strace -V", "which less"})
    EXPECT_OK(colima({"ssh", "--", tool}));
  ASSERT_OK(colima({"delete", "-f"}));
  EXPECT_FALSE(fs::exists(box.profile(name) / "profile.yaml"));
}

class Verbs : public OnDocker {
 protected:
  static void run_web() {
    ASSERT_OK(docker({"run", "-d", "--name", "web", "-p", "127.0.0.1::80", "box", "sleep", "1000"}));
  }
  static void remove_web() { EXPECT_OK(docker({"rm", "-f", "web"})); }
};

TEST_F(Verbs, DebugNeedsNoShellInTheContainerAndChangesNothing) {
  const fs::path context = box->root() / "bare";
  fs::create_directories(context);
  fs::copy_file(box->busybox_tree() / "bin" / "busybox", context / "busybox");
  write_atomically(context / "Dockerfile", "FROM scratch\nCOPY busybox /busybox\n");
  ASSERT_OK(docker({"build", "-q", "-t", "bare", context.string()}));
  ASSERT_OK(docker({"run", "-d", "--name", "web", "bare", "/busybox", "sleep", "1000"}));
  const Result seen = cl({"debug", "web", "--", "sh", "-c", "ls / && ps && exit 7"});
  EXPECT_EQ(seen.code, 7) << seen;
  EXPECT_NE(seen.out.find("/busybox sleep 1000"), std::string::npos) << seen;
  EXPECT_EQ(docker({"diff", "web"}).out, "");
  EXPECT_NE(cl({"debug", "bare", "--", "ls", "/"}).out.find("busybox"), std::string::npos);
  ASSERT_OK(docker({"stop", "-t", "0", "web"}));
  expect_error(cl({"debug", "web"}), 3, {"the container web does not run", "docker start web"});
  expect_error(cl({"debug", "nobody"}), 1, {"neither a container nor an image nobody"});
  remove_web();
  EXPECT_OK(docker({"rmi", "bare"}));
}

TEST_F(Verbs, CopyGoesThereAndBack) {
  const fs::path dir = box->root() / "copy";
  fs::create_directories(dir / "folder" / "sub");
  const std::string bytes(3'000'000, 'x');
  write_atomically(dir / "folder" / "sub" / "file", bytes, 0750);
  fs::create_symlink("file", dir / "folder" / "sub" / "link");
  write_atomically(dir / "single", "one\n", 0640);
  ASSERT_OK(cl({"cp", (dir / "folder").string(), ":/root/there"}));
  ASSERT_OK(cl({"cp", ":there", (dir / "back").string()}));
  EXPECT_EQ(read_file(dir / "back" / "sub" / "file"), bytes);
  EXPECT_EQ(fs::status(dir / "back" / "sub" / "file").permissions(), fs::perms(0750));
  EXPECT_EQ(fs::read_symlink(dir / "back" / "sub" / "link"), "file");
  ASSERT_OK(cl({"cp", (dir / "single").string(), "default:/root/there"}));
  const Result back = cl({"cp", ":/root/there/single", dir.string() + "/again", "--json"});
  ASSERT_OK(back);
  EXPECT_EQ(boost::json::parse(back.out).at("bytes"), 4);
  EXPECT_EQ(read_file(dir / "again"), "one\n");
  expect_error(cl({"cp", ":/no/such", dir.string()}), 1, {"there is no /no/such in the machine"});
  expect_error(cl({"cp", (dir / "single").string(), ":/no/such/"}), 1, {"there is no folder /no/such/"});
  expect_error(cl({"cp", (dir / "folder").string(), ":/proc/x"}), 5, {"copying"});
  EXPECT_OK(cl({"ssh", "--", "rm -r /root/there"}));
}

TEST_F(Verbs, TopAndDfTellOfContainers) {
  run_web();
  const Result top = cl({"top", "--once", "--json"});
  ASSERT_OK(top);
  const auto sample = boost::json::parse(top.out);
  EXPECT_GT(sample.at("machine").at("memory_bytes").to_number<std::uint64_t>(), 50'000'000U);
  ASSERT_EQ(sample.at("containers").as_array().size(), 1U) << top;
  EXPECT_EQ(sample.at("containers").as_array().front().at("name"), "web");
  EXPECT_NE(cl({"top", "--once"}).out.find("\nweb "), std::string::npos);
  const Result df = cl({"df", "--json"});
  ASSERT_OK(df);
  const auto use = boost::json::parse(df.out);
  EXPECT_EQ(use.at("engine").as_array().size(), 4U);
  ASSERT_EQ(use.at("disks").as_array().size(), 2U) << df;
  EXPECT_GT(use.at("disks").as_array().front().at("used_bytes").to_number<std::uint64_t>(), 100'000'000U);
  remove_web();
}

TEST_F(Verbs, EventsTellWhenAPortOpens) {
  const auto events = box->start_cl({"events", "--json"});
  const bool began = eventually(60s, [&] { return events->out().find(R"("state":"running")") != std::string::npos; });
  EXPECT_TRUE(began) << events->out() << events->err();
  run_web();
  EXPECT_TRUE(eventually(60s, [&] {
    return events->out().find(R"("action":"open","address":"127.0.0.1")") != std::string::npos;
  })) << events->out();
  remove_web();
  EXPECT_TRUE(eventually(60s, [&] { return events->out().find(R"("action":"closed")") != std::string::npos; }))
      << events->out();
  events->signal(SIGINT);
  EXPECT_EQ(events->wait(30s).code, 130);
}

TEST_F(Verbs, NamesOfContainersAreCompleted) {
  run_web();
  EXPECT_EQ(cl({"complete", "--", "debug", "w"}).out, "web\n");
  remove_web();
}

TEST_F(Verbs, EndOnceNobodyReads) {
  const std::string line = program() + " top --json | head -1 | wc -l";
  EXPECT_EQ(box->run({"sh", "-c", line}).out, "1\n") << "and not a minute later";
}

}  // namespace
}  // namespace cl::e2e
