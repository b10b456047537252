#include "docker/client_proxies.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::docker {
namespace {

constexpr const char* users_own =
    "{\n\t\"auths\": {\n\t\t\"r.test\": {\n\t\t\t\"auth\": \"eDp5\"\n\t\t}\n\t},\n\t\"psFormat\": \"{{.ID}}\",\n"
    "\t\"proxies\": {\n\t\t\"default\": {\n\t\t\t\"httpProxy\": \"http://d\"\n\t\t}\n\t}\n}";

class ClientProxiesFile : public testing::Test {
 protected:
  std::string text() const { return read_file_if_exists(config_).value_or("none"); }

  test::TempDir dir_;
  fs::path config_ = dir_ / "docker" / "config.json";
  const fs::path socket_ = "/p/docker.sock";
  const ClientProxies proxies_{"http://a:1", "", "localhost"};
};

TEST(ClientConfig, IsWhereTheClientLooks) {
  EXPECT_EQ(client_config("", "/nowhere/me"), "/nowhere/me/.docker/config.json");
  EXPECT_EQ(client_config("/nowhere/else", "/nowhere/me"), "/nowhere/else/config.json");
}

TEST_F(ClientProxiesFile, IsMadeWhenItIsNeeded) {
  set_client_proxies(config_, socket_, std::nullopt);
  EXPECT_EQ(text(), "none");
  EXPECT_FALSE(has_client_proxies(config_, socket_));
  set_client_proxies(config_, socket_, proxies_);
  EXPECT_TRUE(has_client_proxies(config_, socket_));
  EXPECT_EQ(text(),
            "{\n\t\"proxies\": {\n\t\t\"unix:///p/docker.sock\": {\n\t\t\t\"httpProxy\": \"http://a:1\",\n"
            "\t\t\t\"noProxy\": \"localhost\"\n\t\t}\n\t}\n}");
  set_client_proxies(config_, socket_, std::nullopt);
  EXPECT_EQ(text(), "{}");
}

TEST_F(ClientProxiesFile, KeepsWhatIsTheUsers) {
  fs::create_directory(config_.parent_path());
  write_atomically(config_, users_own, 0640);
  set_client_proxies(config_, socket_, proxies_);
  EXPECT_NE(text().find("http://d"), std::string::npos);
  EXPECT_NE(text().find("http://a:1"), std::string::npos);
  set_client_proxies(config_, socket_, std::nullopt);
  EXPECT_EQ(text(), users_own);
  struct stat status{};
  ASSERT_EQ(::stat(config_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0640U);
}

TEST_F(ClientProxiesFile, IsFollowedWhereALinkLeads) {
  fs::create_directories(dir_ / "dotfiles");
  fs::create_directory(config_.parent_path());
  write_atomically(dir_ / "dotfiles" / "docker.json", users_own);
  fs::create_symlink(dir_ / "dotfiles" / "docker.json", config_);
  set_client_proxies(client_config(config_.parent_path(), ""), socket_, proxies_);
  EXPECT_TRUE(fs::is_symlink(config_));
  EXPECT_TRUE(has_client_proxies(config_, socket_));
}

TEST_F(ClientProxiesFile, IsNotWrittenWhenNothingDiffersOrItCannotBeRead) {
  fs::create_directory(config_.parent_path());
  for (const char* odd :
       {"{ \"proxies\": {\"unix:///p/docker.sock\":\n{\"httpProxy\": \"http://a:1\", \"noProxy\":\"localhost\"}}}", "{",
        "[]", "{\"proxies\": 1}"}) {
    write_atomically(config_, odd);
    try {
      set_client_proxies(config_, socket_, proxies_);
      EXPECT_EQ(odd[1], ' ');
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::host_requirement) << odd;
      EXPECT_THROW(has_client_proxies(config_, socket_), Error);
    }
    EXPECT_EQ(text(), odd);
  }
}

}  // namespace
}  // namespace cl::docker
