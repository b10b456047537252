#include <algorithm>
#include <chrono>

#include "tests/e2e/shared_machine.hpp"

// The agent in a real guest: one program, that is there again when it is killed, and ours whatever build was there
// before.

namespace cl::e2e {
namespace {

class GuestAgent : public OnDocker {
 protected:
  static std::string in_guest(const std::string& command) { return cl({"ssh", "--", command}).out; }
  /// How often the daemon has said that.
  static std::ptrdiff_t said(const std::string& text) {
    const std::string log = box->cl({"logs", "-n", "100000"}).out;
    std::ptrdiff_t count = 0;
    for (std::size_t at = 0; (at = log.find(text, at)) != std::string::npos; ++at) ++count;
    return count;
  }
  static constexpr const char* pids = "pgrep -f -- '--ports colima-like.data.i[n]' | tr '\\n' ' '";
  static constexpr const char* there = "the guest's agent answers";
};

TEST_F(GuestAgent, IsOneProgramAndNoScript) {
  const std::string processes = in_guest("ps -eo args");
  EXPECT_NE(processes.find(" --ports colima-like.data.in colima-like.data.out\n"), std::string::npos) << processes;
  EXPECT_EQ(processes.find("perl"), std::string::npos) << processes;
  // The image's own, or of an image that is older than this program the one that it was sent.
  const std::string units = in_guest("systemctl is-active colima-like-agent colima-like-agent-sent; true");
  EXPECT_TRUE(units == "active\ninactive\n" || units == "inactive\nactive\n") << units;
}

TEST_F(GuestAgent, SetsTheClockToTheHosts) {
  const auto before = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  const double guest = std::stod(in_guest("date +%s.%N"));
  const auto after = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_GE(guest, before - 0.05);
  EXPECT_LE(guest, after + 0.05);
}

TEST_F(GuestAgent, ThatIsKilledUnderLoadResetsItsStreamsAndIsBackWithinSeconds) {
  ASSERT_OK(docker({"run", "-d", "--name", "flood", "box", "sleep", "100000"}));
  auto flood = box->start_docker({"exec", "flood", "cat", "/dev/zero"});
  ASSERT_TRUE(eventually(60s, [&] { return flood->out().size() > (1 << 20); })) << flood->err();
  const auto times = said(there);
  const std::string first = in_guest(pids);
  cl({"ssh", "--", "kill -9 " + first});
  EXPECT_NE(flood->wait(20s).code, -1) << "it hangs";
  EXPECT_EQ(docker({"exec", "flood", "echo", "here"}).out, "here\n");
  EXPECT_TRUE(eventually(10s, [&] { return said(there) > times; })) << box->cl({"logs"}).out;
  EXPECT_NE(in_guest(pids), first);
  EXPECT_EQ(docker({"exec", "flood", "echo", "here"}).out, "here\n");
  EXPECT_OK(docker({"rm", "-f", "flood"}));
}

TEST_F(GuestAgent, IsInStatusWhenItIsLostAgainAndAgain) {
  for (int i = 0; i < 3; ++i) {
    const auto times = said(there);
    cl({"ssh", "--", std::string("kill -9 $(") + pids + ")"});
    ASSERT_TRUE(eventually(20s, [&] { return said(there) > times; })) << box->cl({"logs"}).out;
  }
  EXPECT_TRUE(eventually(10s, [] { return box->status().contains("agent"); }));
  const Result status = cl({"status"});
  EXPECT_NE(status.out.find("agent    was lost "), std::string::npos) << status;
  EXPECT_EQ(docker({"run", "--rm", "box", "echo", "here"}).out, "here\n");
}

TEST_F(GuestAgent, OfAnotherBuildIsReplacedWithoutAReboot) {
  const auto times = said(there);
  ASSERT_OK(box->cl({"ssh", "--",
                     "cd /usr/lib/colima-like && cp -p colima-like-agent /root/ours && "
                     "build=$(./colima-like-agent --version | cut -d ' ' -f 2) && "
                     "sed -i s/$build/000000000000/g colima-like-agent && systemctl stop colima-like-agent-sent; "
                     "systemctl restart colima-like-agent"}));
  EXPECT_TRUE(eventually(60s, [&] { return said(there) > times; })) << box->cl({"logs"}).out;
  EXPECT_EQ(in_guest("systemctl is-active colima-like-agent colima-like-agent-sent; true"), "inactive\nactive\n");
  EXPECT_EQ(in_guest("cd /run/colima-like/agent && [ \"$(sha256sum < *)\" = \"$(echo *)  -\" ] && stat -c '%U %a' . *"),
            "root 755\nroot 755\n");
  EXPECT_EQ(docker({"run", "--rm", "box", "echo", "here"}).out, "here\n");
  const auto sent = said(there);
  ASSERT_OK(box->cl({"ssh", "--",
                     "mv /root/ours /usr/lib/colima-like/colima-like-agent && systemctl stop colima-like-agent-sent && "
                     "systemctl start colima-like-agent"}));
  EXPECT_TRUE(eventually(60s, [&] { return said(there) > sent; })) << box->cl({"logs"}).out;
}

}  // namespace
}  // namespace cl::e2e
