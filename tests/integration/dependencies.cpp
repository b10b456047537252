// One thing of every library that the program and its tests link; tests/own_prefix.py builds and runs it.
#include <gtest/gtest.h>
#include <libssh2.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <spdlog/spdlog.h>
#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <boost/filesystem/path.hpp>
#include <boost/json.hpp>
#include <boost/process/v2/process.hpp>
#include <boost/version.hpp>
#include <iostream>

int main() {
  CLI::App app;
  boost::asio::io_context context;
  const boost::process::v2::process none(context);
  std::cout << "boost " << BOOST_LIB_VERSION << ", " << boost::json::serialize(boost::json::parse("[1]"))
            << ", process " << none.is_open() << '\n'
            << "boost filesystem " << boost::filesystem::path("/a/b").filename() << '\n'
            << "CLI11 " << app.help().size() << '\n'
            << "fmt " << fmt::format("{}", FMT_VERSION) << '\n'
            << "googletest " << bool(testing::AssertionSuccess()) << '\n'
            << "libssh2 " << libssh2_version(0) << '\n'
            << "openssl " << OpenSSL_version(OPENSSL_VERSION) << ", " << EVP_MD_size(EVP_sha512()) << ", "
            << (TLS_client_method() != nullptr) << '\n'
            << "spdlog " << spdlog::default_logger()->name() << '\n'
            << "yaml-cpp " << YAML::Load("[a, b]").size() << '\n';
}
