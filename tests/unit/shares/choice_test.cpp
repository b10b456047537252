#include "src/shares/choice.hpp"

#include <gtest/gtest.h>

#include "src/base/error.hpp"
#include "src/shares/transport.hpp"

namespace cl {
namespace {

Share share(const std::string& path, const std::string& type = "auto", bool read_only = false) {
  Share one;
  one.location = one.written = one.mount_point = path;
  one.type = type;
  one.read_only = read_only;
  return one;
}

ShareHost full_host() {
  ShareHost host;
  host.virtiofs_by = "virtiofsd 1.13.2";
  host.sftp_server = "/usr/lib/openssh/sftp-server";
  host.bwrap = "/usr/bin/bwrap";
  host.root = true;
  return host;
}

ShareHost without_virtiofsd() {
  ShareHost host = full_host();
  host.no_virtiofs = "there is no virtiofsd";
  return host;
}

/// "PATH TYPE TAG (why) !problem", one a line.
std::string chosen(const std::vector<Share>& plan, const ShareHost& host,
                   const std::vector<ShareState>* devices = nullptr,
                   ShareConfinement confinement = ShareConfinement::required) {
  std::string text;
  try {
    for (const ShareState& one : choose_share_types(plan, host, devices, confinement))
      text += one.mount_point + " " + one.type + " " + one.tag + " (" + one.why + ")" +
              (one.problem.empty() ? "" : " !" + one.problem) + "\n";
  } catch (const Error& error) {
    return std::string("refused: ") + one_line(error);
  }
  return text;
}

TEST(ShareChoice, AutoIsTheBestThatWorksAndSaysWhy) {
  EXPECT_EQ(chosen({share("/a"), share("/b")}, full_host()),
            "/a virtiofs share0 (virtiofsd 1.13.2)\n/b virtiofs share1 (virtiofsd 1.13.2)\n");
  EXPECT_EQ(chosen({share("/a")}, without_virtiofsd()), "/a sshfs  (there is no virtiofsd)\n");
}

TEST(ShareChoice, AFolderThatVirtiofsdDoesNotServeComesBySshfs) {
  ShareHost host = full_host();
  host.unserved["/b"] = "it was tried in vain";
  EXPECT_EQ(chosen({share("/a"), share("/b")}, host),
            "/a virtiofs share0 (virtiofsd 1.13.2)\n/b sshfs  (it was tried in vain)\n");
  EXPECT_EQ(chosen({share("/b", "virtiofs")}, host), "refused: /b cannot be shared by virtiofs: it was tried in vain");
  const std::vector<ShareState> none;
  EXPECT_EQ(chosen({share("/b")}, host, &none), "/b sshfs  (it was tried in vain)\n");
}

TEST(ShareChoice, WhatIsAskedForIsTakenOrRefused) {
  EXPECT_EQ(chosen({share("/a", "sshfs")}, full_host()), "/a sshfs  ()\n");
  EXPECT_EQ(chosen({share("/a", "virtiofs")}, without_virtiofsd()),
            "refused: /a cannot be shared by virtiofs: there is no virtiofsd");
  EXPECT_NE(chosen({share("/a", "9p")}, full_host()).find("kernel has no 9p"), std::string::npos);
  ShareHost bare = without_virtiofsd();
  bare.sftp_server.clear();
  EXPECT_EQ(chosen({share("/a")}, bare),
            "/a   () !there is no sftp-server on this host; install the package openssh-sftp-server\n");
  EXPECT_NE(chosen({share("/a", "sshfs")}, bare).find("refused"), std::string::npos);
}

TEST(ShareChoice, WhatIsNotAsOnTheHostIsSaid) {
  ShareHost host = without_virtiofsd();
  host.root = false;
  host.bwrap.clear();
  const std::string text = chosen({share("/a", "sshfs")}, host);
  EXPECT_NE(text.find("chown does nothing"), std::string::npos) << text;
}

TEST(ShareChoice, WhatNothingConfinesIsRefusedUnlessThatIsAllowed) {
  ShareHost host = without_virtiofsd();
  host.bwrap.clear();
  host.unconfined = "no Landlock";
  const std::string why = "its server could reach all that this user can: no Landlock";
  const std::string remedy =
      "install bubblewrap; or 'colima-like config set share_confinement optional' shares it all the same";
  EXPECT_EQ(chosen({share("/a")}, host), "/a   () !" + why + "; " + remedy + "\n");
  EXPECT_EQ(chosen({share("/a", "sshfs")}, host), "refused: /a cannot be shared by sshfs: " + why);
  const std::string allowed = chosen({share("/a")}, host, nullptr, ShareConfinement::optional);
  EXPECT_TRUE(allowed.starts_with("/a sshfs")) << allowed;
  EXPECT_NE(allowed.find("the guest's root could reach all that this user can: no Landlock"), std::string::npos);

  ShareHost virtiofs = full_host();
  virtiofs.virtiofsd_unconfined = "no Landlock";
  EXPECT_EQ(chosen({share("/a")}, virtiofs), "/a sshfs  (" + why + ")\n") << "bubblewrap confines that one";
  EXPECT_TRUE(chosen({share("/a")}, virtiofs, nullptr, ShareConfinement::optional).starts_with("/a virtiofs share0"));
}

Share hiding(const std::string& path, const std::string& type = "auto") {
  Share one = share(path, type);
  one.hidden = {path + "/.ssh"};
  one.kept = {path + "/.bashrc"};
  return one;
}

TEST(ShareChoice, WhatCannotBeHiddenIsNotShared) {
  ShareHost host = full_host();
  host.no_guard = "an old kernel";
  EXPECT_EQ(
      chosen({hiding("/a"), share("/b")}, host),
      "/a   () !what share_hide names cannot be hidden: an old kernel; 'colima-like config set share_hide []' shares "
      "it with all that is in it\n/b virtiofs share0 (virtiofsd 1.13.2)\n");
  EXPECT_EQ(chosen({hiding("/a", "sshfs")}, host),
            "refused: /a cannot be shared by sshfs: what share_hide names cannot be hidden: an old kernel");
}

TEST(ShareChoice, AHypervisorsOwnVirtiofsHidesNothing) {
  ShareHost host = full_host();
  host.virtiofs_by = "vfkit";
  host.virtiofs_shows_all = "vfkit serves all";
  EXPECT_EQ(chosen({hiding("/a"), share("/b")}, host), "/a sshfs  (vfkit serves all)\n/b virtiofs share0 (vfkit)\n");
  EXPECT_EQ(chosen({hiding("/a", "virtiofs")}, host), "refused: /a cannot be shared by virtiofs: vfkit serves all");
}

TEST(ShareChoice, AMachineThatRunsHidesWhatItWasBootedWith) {
  const auto devices = choose_share_types({share("/a")}, full_host(), nullptr, ShareConfinement::required);
  const auto now = choose_share_types({hiding("/a")}, full_host(), &devices, ShareConfinement::required);
  ASSERT_EQ(now.size(), 1u);
  EXPECT_EQ(now[0].tag, "share0");
  EXPECT_TRUE(now[0].hidden.empty() && now[0].kept.empty()) << "its server knows nothing of it";
  EXPECT_NE(now[0].why.find("is hidden from the next start on"), std::string::npos) << now[0].why;
  const auto next = choose_share_types({hiding("/a")}, full_host(), nullptr, ShareConfinement::required);
  EXPECT_EQ(next[0].hidden, std::vector<std::string>{"/a/.ssh"});
  EXPECT_EQ(next[0].kept, std::vector<std::string>{"/a/.bashrc"});
  EXPECT_EQ(next[0].why, "virtiofsd 1.13.2");
}

TEST(ShareChoice, AFolderThatIsAwayHasNoDevice) {
  Share gone = share("/gone");
  gone.problem = "it is away";
  EXPECT_EQ(chosen({gone, share("/b")}, full_host()),
            "/gone   () !it is away\n/b virtiofs share0 (virtiofsd 1.13.2)\n");
}

TEST(ShareChoice, AMachineThatRunsHasTheDevicesItWasBootedWith) {
  const auto devices = choose_share_types({share("/a"), share("/b")}, full_host(), nullptr, ShareConfinement::required);
  EXPECT_EQ(chosen({share("/b"), share("/c"), share("/a", "sshfs")}, full_host(), &devices),
            "/b virtiofs share1 (virtiofsd 1.13.2)\n/c sshfs  (virtiofs from the next start on)\n/a sshfs  ()\n");
  EXPECT_EQ(chosen({share("/a", "auto", true)}, full_host(), &devices), "/a sshfs  (virtiofs from the next start on)\n")
      << "a device that can write is none for a read-only share";
  EXPECT_EQ(chosen({share("/a")}, without_virtiofsd(), &devices).substr(0, 18), "/a virtiofs share0") << "it runs";
}

TEST(ShareChoice, AnotherOwnerNeedsADeviceAndAServerThatGivesIt) {
  const auto devices = choose_share_types({share("/a")}, full_host(), nullptr, ShareConfinement::required);
  Share owned = share("/a");
  owned.owner = FileOwner{1000, 1000};
  EXPECT_EQ(chosen({owned}, full_host()), "/a virtiofs share0 (virtiofsd 1.13.2)\n");
  EXPECT_EQ(chosen({owned}, full_host(), &devices), "/a sshfs  (virtiofs from the next start on)\n");
  ShareHost host = full_host();
  host.virtiofs_keeps_owners = "it cannot";
  EXPECT_EQ(chosen({owned, share("/b")}, host), "/a sshfs  (it cannot)\n/b virtiofs share0 (virtiofsd 1.13.2)\n");
  const auto states = choose_share_types({owned}, host, nullptr, ShareConfinement::required);
  EXPECT_EQ(states[0].owner, "1000.1000");
  EXPECT_NE(sshfs_command(states[0], "").find("owners=,uid=1000,gid=1000\n"), std::string::npos);
}

TEST(ShareChoice, TheGuestIsToldWhatToMountAtBoot) {
  auto states =
      choose_share_types({share("/a b"), share("/c", "sshfs", true)}, full_host(), nullptr, ShareConfinement::required);
  states.push_back({});
  states.back().problem = "away";
  EXPECT_EQ(shares_credential(states), "virtiofs share0 rw /a b\nsshfs - ro /c\n");
}

TEST(SftpServer, SeesTheFolderAlone) {
  ShareState state;
  state.location = "/home/u/my work";
  state.read_only = true;
  const auto words = sftp_command_line(state, {"/usr/lib/openssh/sftp-server", "/usr/bin/bwrap", "", true, -1, 9});
  std::string text;
  for (const std::string& word : words) text += word + "|";
  EXPECT_NE(text.find("|--unshare-net|"), std::string::npos) << text;
  EXPECT_NE(text.find("|--ro-bind|/home/u/my work|/home/u/my work|"), std::string::npos) << text;
  EXPECT_NE(text.find("|-R|"), std::string::npos) << text;
  EXPECT_NE(text.find("|--cap-drop|ALL|"), std::string::npos) << "a server of root's keeps three rights: " << text;
  EXPECT_NE(text.find("|--remount-ro|/|"), std::string::npos) << "its own root took memory without a limit: " << text;
  EXPECT_NE(text.find("|--seccomp|9|"), std::string::npos) << text;
  EXPECT_EQ(text.find("|/home/u|"), std::string::npos) << text;
  state.read_only = false;
  EXPECT_EQ(sftp_command_line(state, {"/s", "", ""})[0], "/s");
}

#ifndef __APPLE__
TEST(SftpServer, IsGuardedHoweverItIsConfined) {
  ShareState state;
  state.location = "/home/u";
  state.hidden = {"/home/u/.ssh"};
  state.kept = {"/home/u/.bashrc"};
  for (const SftpPrograms& programs : {SftpPrograms{"/s", "/usr/bin/bwrap", ""},
                                       SftpPrograms{"/s", "", "/proc/self/exe"}, SftpPrograms{"/s", "", ""}}) {
    std::string text;
    for (const std::string& word : sftp_command_line(state, programs)) text += word + "|";
    EXPECT_TRUE(text.starts_with("/proc/self/exe|confine|paths|f:/home/u|h:/home/u/.ssh|k:/home/u/.bashrc|--|"))
        << text;
  }
  state.hidden.clear();
  state.kept.clear();
  EXPECT_EQ(sftp_command_line(state, {"/s", "", ""})[0], "/s") << "with nothing to hide there is no guard";
}
#endif

TEST(GuestCommands, SetAsideWhatMayBeDeadAndUnmountTheRest) {
  ShareState state;
  state.location = "/a";
  state.mount_point = "/it's here";
  EXPECT_NE(sshfs_command(state, "").find("\naside=yes\n"), std::string::npos);
  for (const std::string& text : {virtiofs_command(state), unmount_command("/x")})
    EXPECT_NE(text.find("\naside=\n"), std::string::npos) << text;
  EXPECT_NE(sshfs_command(state, "").find(R"(mp='/it'\''s here')"), std::string::npos);
  EXPECT_NE(sshfs_command(state, "").find("\nport=\n"), std::string::npos);
  EXPECT_NE(sshfs_command(state, "colima-like.share.1").find("\nport=colima-like.share.1\n"), std::string::npos);
}

TEST(MountInfo, WritesOddBytesInOctal) {
  EXPECT_EQ(mountinfo_escaped("/a b\tc\\d"), R"(/a\040b\011c\134d)");
  EXPECT_EQ(mountinfo_escaped("/日本"), "/日本");
}

}  // namespace
}  // namespace cl
