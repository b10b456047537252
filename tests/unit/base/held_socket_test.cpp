#include "src/base/net/held_socket.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "src/base/file.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

TEST(HeldSocket, IsInTheFolderAndNoLinkLeadsOut) {
  const test::TempDir dir;
  const fs::path root = fs::canonical(dir.path()), share = root / "share";
  fs::create_directories(share / "sub");
  auto listen = [](const fs::path& path) {
    UniqueFd made(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(made.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(made.get(), 1), 0);
    return made;
  };
  const UniqueFd inside = listen(share / "sub/s"), outside = listen(root / "o");
  auto connects = [&](const fs::path& path) -> std::string {
    try {
      const HeldSocket held = hold_socket(share, path);
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      held.path.string().copy(address.sun_path, sizeof address.sun_path - 1);
      const UniqueFd to(::socket(AF_UNIX, SOCK_STREAM, 0));
      return ::connect(to.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? "connected" : "refused";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(connects(share / "sub/s"), "connected");
  fs::create_symlink("sub", share / "relative");
  EXPECT_EQ(connects(share / "relative/s"), "connected");
  fs::create_symlink("../o", share / "link");
  fs::create_directory_symlink(root, share / "folder");
  const std::string out = "cannot follow out of " + share.string() + " ";
  EXPECT_EQ(connects(share / "link"), out + (share / "link").string());
  EXPECT_EQ(connects(share / "folder/o"), out + (share / "folder/o").string());
  EXPECT_EQ(connects(root / "o"), out + (root / "o").string());
  EXPECT_EQ(connects(share / "sub"), "cannot connect to " + (share / "sub").string());
  EXPECT_EQ(connects(share / "none"), "cannot find " + (share / "none").string());
}

}  // namespace
}  // namespace cl
