#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/e2e/sandbox.hpp"

namespace cl::e2e {

/// A machine that many tests use, one after the other: the first boots it, and each finds it as the first one did.
///
/// It is looked at after each test. A container, a volume, a network, a port or a setting that was not there before is
/// taken away again, and the test fails by the name of what it left. When the machine does not answer any more, the
/// test fails and the next one gets another machine.
class SharedMachine {
 public:
  /// A machine with the default settings; `furnish` puts into it what tests find there.
  SharedMachine(std::string name, std::function<void(Sandbox&)> furnish);
  ~SharedMachine();
  SharedMachine(const SharedMachine&) = delete;
  SharedMachine& operator=(const SharedMachine&) = delete;

  /// For the test that begins. Boots one unless one runs; nothing, and the test fails, when that does not succeed.
  Sandbox* begin();
  /// After the test, which is still the one that fails.
  void end();

  /// Deletes it. The next test gets another one.
  void give_up();

 private:
  /// What a test may not leave behind, by kind and name: "container web".
  struct Belongings {
    std::set<std::string> in_engine;
    std::string settings;
    std::vector<std::string> environment;
    bool operator==(const Belongings&) const = default;
  };
  /// Throws when the machine does not answer.
  Belongings look() const;
  void put_back(const Belongings& now);
  void fail(const std::string& what) const;

  std::string name_;
  std::function<void(Sandbox&)> furnish_;
  std::unique_ptr<Sandbox> box_;
  Belongings found_;
  bool cannot_start_ = false;
};

/// With Docker, the user's home as a share, and the image `box`: busybox.
SharedMachine& docker_machine();

/// A test on docker_machine().
class OnDocker : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  static Result docker(std::vector<std::string> args, std::string_view input = {}) {
    return box->docker(std::move(args), input);
  }
  static Result cl(std::vector<std::string> args, std::string_view input = {}) {
    return box->cl(std::move(args), input);
  }

  static Sandbox* box;
};

}  // namespace cl::e2e
