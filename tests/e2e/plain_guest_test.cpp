#include "tests/e2e/sandbox.hpp"

// A Debian guest without Docker: it is installed over SSH, once.

namespace cl::e2e {
namespace {

TEST(PlainGuest, GetsDockerAtItsFirstStartAndNothingAtTheNext) {
  Sandbox box;
  const Result first = box.cl({"start", "--image", "plain"}, {}, 2000s);
  ASSERT_OK(first);
  ASSERT_NO_FATAL_FAILURE(box.import_busybox("box"));
  EXPECT_EQ(box.docker({"run", "--rm", "box", "echo", "hello"}).out, "hello\n");
  const Result named = box.docker({"run", "--rm", "box", "busybox", "nslookup", "host.docker.internal"});
  EXPECT_NE(named.out.find("10.0.2.2"), std::string::npos) << named;

  const Result stopped = box.cl({"stop"}, {}, 200s);
  ASSERT_OK(stopped);
  const Result second = box.cl({"start", "--image", "plain"}, {}, boot_limit);
  ASSERT_OK(second);
  EXPECT_NE(second.err.find("nothing had to change"), std::string::npos) << second;
  EXPECT_EQ(box.cl({"ssh", "--", "systemctl is-active colima-like-shares"}).out, "active\n");
  EXPECT_EQ(box.docker({"run", "--rm", "box", "echo", "hello"}).out, "hello\n");
  ASSERT_OK(box.cl({"delete", "--data", "--force"}, {}, 200s));
}

}  // namespace
}  // namespace cl::e2e
