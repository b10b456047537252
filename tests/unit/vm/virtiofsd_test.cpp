#include "vm/qemu/virtiofsd.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace cl {
namespace {

constexpr const char* help =
    "Options:\n  --shared-dir <SHARED_DIR>\n  --readonly\n  --translate-uid <TRANSLATE_UID>\n"
    "  --migration-on-error <MIGRATION_ON_ERROR>\n";

Virtiofsd known() {
  Virtiofsd host;
  EXPECT_TRUE(parse_virtiofsd("virtiofsd 1.14.0\n", help, host));
  host.binary = "/usr/libexec/virtiofsd";
  return host;
}

std::string words(const BootShare& share, const Virtiofsd& host, const ServerRights& rights) {
  std::string text;
  for (const std::string& word : virtiofsd_command_line(share, host, rights, 7)) text += word + '\n';
  return text;
}

bool has(const std::string& text, const std::string& line) {
  return ('\n' + text).find('\n' + line + '\n') != std::string::npos;
}

TEST(Virtiofsd, IsToldFromOtherProgramsOfThatName) {
  const Virtiofsd host = known();
  EXPECT_EQ(host.version, "1.14.0");
  EXPECT_TRUE(host.read_only && host.saves && host.translates);
  Virtiofsd other;
  // QEMU 7's own, in C.
  EXPECT_FALSE(
      parse_virtiofsd("virtiofsd version 7.2.11 (Debian)\nusing FUSE kernel interface version 7.36\n", help, other));
  EXPECT_FALSE(parse_virtiofsd("", help, other));
  EXPECT_FALSE(parse_virtiofsd("virtiofsd 1.14.0\n", "", other));
}

TEST(Virtiofsd, AnOldOneIsAskedForNothingThatItDoesNotKnow) {
  Virtiofsd old;
  ASSERT_TRUE(parse_virtiofsd("virtiofsd 1.10.0\n", "--shared-dir", old));
  const std::string text = words({"share0", "/a", true}, old, ServerRights{});
  EXPECT_FALSE(has(text, "--readonly")) << text;
  EXPECT_EQ(text.find("migration"), std::string::npos) << text;
}

TEST(Virtiofsd, OfRootServesOwnersAsTheyAre) {
  ServerRights rights;
  rights.sandbox = ServerRights::Sandbox::name_spaces;
  const std::string text = words({"share0", "/home/a b,c", false}, known(), rights);
  EXPECT_TRUE(has(text, "--fd=7")) << text;
  EXPECT_TRUE(has(text, "--shared-dir=/home/a b,c")) << text;
  EXPECT_TRUE(has(text, "--sandbox=namespace")) << text;
  EXPECT_TRUE(has(text, "--migration-mode=file-handles")) << text;
  EXPECT_EQ(text.find("-map="), std::string::npos) << text;
  EXPECT_EQ(text.find("--translate"), std::string::npos) << text;
  EXPECT_FALSE(has(text, "--readonly")) << text;
  EXPECT_TRUE(has(words({"share0", "/a", true}, known(), rights), "--readonly"));
}

TEST(Virtiofsd, OfAUserGivesFilesToTheUserAndItsSubordinates) {
  ServerRights rights;
  rights.sandbox = ServerRights::Sandbox::name_spaces;
  rights.uid = 1000;
  rights.gid = 100;
  rights.subuids = {{100000, 65536}};
  rights.subgids = {{200000, 65536}};
  const std::string text = words({"share0", "/a", false}, known(), rights);
  for (const char* line :
       {"--uid-map=:0:1000:1:", "--uid-map=:1:100000:65536:", "--gid-map=:0:100:1:", "--gid-map=:1:200000:65536:",
        "--translate-uid=host:0:1000:1", "--translate-uid=guest:1000:0:1", "--translate-gid=host:0:100:1",
        "--translate-gid=guest:100:0:1", "--migration-verify-handles"})
    EXPECT_TRUE(has(text, line)) << line << " is not in\n" << text;
}

TEST(Virtiofsd, OfAUserWithoutSubordinatesGivesEverythingToTheUser) {
  ServerRights rights;
  rights.sandbox = ServerRights::Sandbox::name_spaces;
  rights.uid = rights.gid = 1000;
  const std::string text = words({"share0", "/a", false}, known(), rights);
  EXPECT_TRUE(has(text, "--translate-uid=squash-guest:0:0:4294967295")) << text;
  rights.sandbox = ServerRights::Sandbox::none;
  const std::string bare = words({"share0", "/a", false}, known(), rights);
  EXPECT_TRUE(has(bare, "--sandbox=none")) << bare;
  EXPECT_TRUE(has(bare, "--translate-uid=squash-guest:0:1000:4294967295")) << bare;
  EXPECT_EQ(bare.find("-map="), std::string::npos) << bare;
}

TEST(Virtiofsd, ThatHidesKnowsFilesByNoHandleAndHasItsIdsFromItsGuard) {
  ServerRights rights;
  rights.sandbox = ServerRights::Sandbox::name_spaces;
  const BootShare share{"share0", "/a", false, {"/a/.ssh"}, {}};
  EXPECT_TRUE(has(words(share, known(), rights), "--inode-file-handles=never"));
  EXPECT_TRUE(has(words({"share0", "/a", false}, known(), rights), "--inode-file-handles=prefer"));
  rights.uid = rights.gid = 1000;
  rights.subuids = rights.subgids = {{100000, 65536}};
  const std::string text = words(share, known(), rights);
  EXPECT_EQ(text.find("-map="), std::string::npos) << text;
  EXPECT_TRUE(has(text, "--translate-uid=guest:1000:0:1")) << text;
}

TEST(Virtiofsd, GivesAShareTheOwnerThatItShallHave) {
  BootShare share{"share0", "/", false};
  share.owner = FileOwner{1000, 100};
  ServerRights rights;
  rights.sandbox = ServerRights::Sandbox::name_spaces;
  const std::string of_root = words(share, known(), rights);
  for (const char* line :
       {"--translate-uid=squash-host:0:1000:4294967295", "--translate-uid=squash-guest:0:0:4294967295",
        "--translate-gid=squash-host:0:100:4294967295"})
    EXPECT_TRUE(has(of_root, line)) << line << " is not in\n" << of_root;
  rights.uid = rights.gid = 1501;
  rights.subuids = rights.subgids = {{100000, 65536}};
  const std::string of_user = words(share, known(), rights);
  EXPECT_TRUE(has(of_user, "--translate-uid=squash-guest:0:0:4294967295")) << of_user;
  EXPECT_TRUE(has(of_user, "--uid-map=:0:1501:1:")) << of_user;
  EXPECT_EQ(of_user.find("=host:"), std::string::npos) << of_user;
  rights.sandbox = ServerRights::Sandbox::none;
  const std::string bare = words(share, known(), rights);
  EXPECT_TRUE(has(bare, "--translate-uid=squash-guest:0:1501:4294967295")) << bare;
  EXPECT_TRUE(has(bare, "--translate-gid=squash-host:0:100:4294967295")) << bare;
}

TEST(SubordinateIds, AreTheUsersOwnAndEnough) {
  const std::string text = "other:100000:65536\nme:1:100\nbroken\nme:x:65536\nme:165536:65536\n77:300000:70000";
  EXPECT_EQ(subordinate_ids(text, "me", 5), (std::pair<std::uint32_t, std::uint32_t>(165536, 65536)));
  EXPECT_EQ(subordinate_ids(text, "nobody", 77), (std::pair<std::uint32_t, std::uint32_t>(300000, 70000)));
  EXPECT_FALSE(subordinate_ids(text, "m", 7));
  EXPECT_FALSE(subordinate_ids("", "me", 5));
}

}  // namespace
}  // namespace cl
