#include "provision/ssh/openssh.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace cl {
namespace {

TEST(OpenSsh, IsTheUsersOwnAndAsksNobody) {
  const auto words = openssh_command("ssh://me@build1:2222", "exec agent", std::chrono::seconds(7));
  ASSERT_GE(words.size(), 3U);
  EXPECT_EQ(words[0], "ssh");
  // Behind the dashes: no host is an option.
  EXPECT_EQ(std::vector<std::string>(words.end() - 3, words.end()),
            (std::vector<std::string>{"--", "ssh://me@build1:2222", "exec agent"}));
  for (const char* option : {"BatchMode=yes", "ConnectTimeout=7", "ControlPath=none", "ServerAliveInterval=5"})
    EXPECT_NE(std::find(words.begin(), words.end(), option), words.end()) << option;
  for (const std::string& word : words)
    for (const char* trust : {"StrictHostKeyChecking", "KnownHosts", "Identity"})
      EXPECT_EQ(word.find(trust), std::string::npos) << word;
}

TEST(OpenSsh, ItsOwnWordsSayWhy) {
  struct Row {
    const char *said, *what;
    Errc code;
  };
  for (const Row& row : {
           Row{"Host key verification failed.\n", "the key of build1 is not known", Errc::host_requirement},
           Row{"@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\n",
               "the key of build1 has changed", Errc::host_requirement},
           Row{"me@build1: Permission denied (publickey,password).\n", "build1 lets nobody in without a question",
               Errc::host_requirement},
           Row{"ssh: Could not resolve hostname build1: Name or service not known\n", "there is no host build1",
               Errc::host_requirement},
           Row{"ssh: connect to host build1 port 22: Connection refused\n", "build1 cannot be reached",
               Errc::guest_failed},
           Row{"", "build1 cannot be reached", Errc::guest_failed},
       }) {
    const Error error = openssh_error("build1", row.said);
    EXPECT_STREQ(error.what(), row.what);
    EXPECT_EQ(error.code(), row.code) << row.said;
    EXPECT_FALSE(error.remedy().empty());
    const std::string said(row.said);
    if (!said.empty()) EXPECT_NE(error.cause().find(said.substr(0, said.size() - 1)), std::string::npos);
  }
}

}  // namespace
}  // namespace cl
