#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "src/base/unique_fd.hpp"

extern char** environ;

namespace cl::test {

/// tests/fakes/fault_http.py for the time of a test.
class FaultServer {
 public:
  FaultServer(const std::string& file, std::vector<std::string> more = {}) {
    int in[2], out[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    std::vector<std::string> words{COLIMA_LIKE_PYTHON, "-I", COLIMA_LIKE_FAULT_HTTP, file};
    words.insert(words.end(), more.begin(), more.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const int failed = ::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    stdin_.reset(in[1]);
    stdout_.reset(out[0]);
    if (failed != 0) throw std::runtime_error("the server does not start");
    char c = 0;
    while (::read(stdout_.get(), &c, 1) == 1 && c != '\n') port_ += c;
    if (port_.empty()) throw std::runtime_error("the server does not start");
    ::fcntl(stdout_.get(), F_SETFL, O_NONBLOCK);
  }
  ~FaultServer() {
    stdin_.reset();
    ::waitpid(pid_, nullptr, 0);
  }
  FaultServer(const FaultServer&) = delete;
  FaultServer& operator=(const FaultServer&) = delete;

  const std::string& port() const { return port_; }
  std::string url(const std::string& path, const std::string& scheme = "http") const {
    return scheme + "://127.0.0.1:" + port_ + "/" + path;
  }
  /// All requests so far, a line each: what came before an answer that we have is in it.
  const std::string& requests() {
    char buffer[4096];
    for (ssize_t got; (got = ::read(stdout_.get(), buffer, sizeof buffer)) > 0;)
      requests_.append(buffer, static_cast<std::size_t>(got));
    return requests_;
  }

 private:
  pid_t pid_ = -1;
  UniqueFd stdin_, stdout_;
  std::string port_, requests_;
};

}  // namespace cl::test
