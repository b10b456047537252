#include "src/base/file.hpp"
#include "tests/e2e/shared_machine.hpp"

// What the guest frees comes back to this computer, whatever removed it.

namespace cl::e2e {
namespace {

constexpr std::uint64_t mib = 1 << 20;
constexpr std::uint64_t near_enough = 64 * mib;
constexpr auto soon = 30s;

class Disk : public OnDocker {
 protected:
  static std::uint64_t taken() { return allocated_bytes(box->profile() / "data.raw"); }
  static bool back_to(std::uint64_t before) {
    return eventually(soon, [before] { return taken() <= before + near_enough; });
  }
};

TEST_F(Disk, OfARemovedContainerComesBackWithinSeconds) {
  const std::uint64_t before = taken();
  ASSERT_OK(
      docker({"run", "--name", "fat", "box", "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=300", "conv=fsync"}));
  ASSERT_GE(taken(), before + 200 * mib);
  ASSERT_OK(docker({"rm", "fat"}));
  EXPECT_TRUE(back_to(before)) << before / mib << " MiB before, now " << taken() / mib;
}

TEST_F(Disk, OfAFileThatAContainerRemovesComesBackWhileItWrites) {
  const std::uint64_t before = taken();
  ASSERT_OK(docker({"run", "-d", "--name", "writer", "-v", "kept:/v", "box", "sh", "-c",
                    "while :; do echo line >> /v/log; busybox sync; busybox sleep 0.2; done"}));
  ASSERT_OK(docker({"exec", "writer", "dd", "if=/dev/urandom", "of=/v/big", "bs=1M", "count=300", "conv=fsync"}));
  ASSERT_GE(taken(), before + 200 * mib);
  ASSERT_OK(docker({"exec", "writer", "busybox", "rm", "/v/big"}));
  EXPECT_TRUE(back_to(before)) << before / mib << " MiB before, now " << taken() / mib;
  EXPECT_OK(docker({"rm", "-f", "writer"}));
  EXPECT_OK(docker({"volume", "rm", "kept"}));
}

}  // namespace
}  // namespace cl::e2e
