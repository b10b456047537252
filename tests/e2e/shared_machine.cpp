#include "tests/e2e/shared_machine.hpp"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <iterator>
#include <stdexcept>

#include "src/base/file.hpp"

namespace cl::e2e {
namespace {

namespace json = boost::json;

/// Machines that run are deleted before the program ends, while a failure still counts.
class SharedMachines : public testing::Environment {
 public:
  static SharedMachines& instance() {
    static auto* const all = new SharedMachines;
    return *all;
  }
  void TearDown() override {
    for (SharedMachine* one : machines) one->give_up();
  }
  std::vector<SharedMachine*> machines;
};
[[maybe_unused]] const auto* const environment = testing::AddGlobalTestEnvironment(&SharedMachines::instance());

std::string name_of(const json::value& one) { return std::string(one.at("Name").as_string()); }

}  // namespace

SharedMachine::SharedMachine(std::string name, std::function<void(Sandbox&)> furnish)
    : name_(std::move(name)), furnish_(std::move(furnish)) {
  SharedMachines::instance().machines.push_back(this);
}

SharedMachine::~SharedMachine() { std::erase(SharedMachines::instance().machines, this); }

/// "Ports.CarryDatagrams left the container web behind in the shared machine 'docker'".
void SharedMachine::fail(const std::string& what) const {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const std::string name = test == nullptr ? "nobody" : std::string(test->test_suite_name()) + "." + test->name();
  ADD_FAILURE() << name << ' ' << what << " the shared machine '" << name_ << "'";
}

Sandbox* SharedMachine::begin() {
  if (box_) return box_.get();
  if (cannot_start_) {
    ADD_FAILURE() << "the shared machine '" << name_ << "' did not start, see an earlier test";
    return nullptr;
  }
  cannot_start_ = true;
  box_ = std::make_unique<Sandbox>();
  const Result started = box_->cl({"start"}, {}, 1800s);  // builds the image when there is none
  EXPECT_OK(started);
  if (started.code == 0) {
    try {
      furnish_(*box_);
      found_ = look();
      cannot_start_ = false;
      return box_.get();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
  }
  give_up();
  return nullptr;
}

void SharedMachine::end() {
  if (!box_) return;
  try {
    const Belongings now = look();
    put_back(now);
    if (now == found_ || look() == found_) return;
    fail("did what cannot be undone to");
  } catch (const std::exception& error) {
    fail(std::string("broke (") + error.what() + ')');
  }
  give_up();
}

void SharedMachine::give_up() { box_.reset(); }

SharedMachine::Belongings SharedMachine::look() const {
  const auto ask = [this](const std::string& path) {
    const std::string answer = engine_answer(box_->docker_socket(), path, 60s);
    boost::system::error_code ec;
    json::value value = json::parse(answer, ec);
    if (ec) throw std::runtime_error("its engine answers '" + answer + "' to " + path);
    return value;
  };
  const json::value containers = ask("/containers/json?all=1"), volumes = ask("/volumes"), networks = ask("/networks");
  Belongings now;
  for (const json::value& one : containers.as_array())
    now.in_engine.insert("container " + std::string(one.at("Names").at(0).as_string()).substr(1));  // "/web"
  if (volumes.at("Volumes").is_array())  // it is null where there is none
    for (const json::value& one : volumes.at("Volumes").as_array()) now.in_engine.insert("volume " + name_of(one));
  for (const json::value& one : networks.as_array()) now.in_engine.insert("network " + name_of(one));
  now.settings = read_file_if_exists(box_->profile() / "profile.yaml").value_or("");
  now.environment = box_->environment();
  return now;
}

void SharedMachine::put_back(const Belongings& now) {
  std::vector<std::string> left;
  std::set_difference(now.in_engine.begin(), now.in_engine.end(), found_.in_engine.begin(), found_.in_engine.end(),
                      std::back_inserter(left));
  for (const std::string& what : left) {  // containers come first, and hold volumes and networks
    fail("left the " + what + " behind in");
    const auto space = what.find(' ');
    const std::string kind = what.substr(0, space), name = what.substr(space + 1);
    if (kind == "container") box_->docker({"rm", "--force", "--volumes", name});
    if (kind == "network") box_->docker({"network", "rm", name});
    if (kind == "volume") box_->docker({"volume", "rm", "--force", name});
  }
  if (now.environment != found_.environment) {
    fail("left variables in the environment of");
    box_->set_environment(found_.environment);
  }
  if (now.settings != found_.settings) {
    fail("left other settings behind in");
    write_atomically(box_->profile() / "profile.yaml", found_.settings);
    EXPECT_OK(box_->cl({"apply"}, {}, 300s));
  }
  // The daemon closes ports a moment after it heard that their container is gone.
  if (!eventually(20s, [this] { return !any_listens_on_ip(box_->daemons()); })) fail("left an open port behind in");
}

SharedMachine& docker_machine() {
  static SharedMachine machine("docker", [](Sandbox& box) { box.import_busybox("box"); });
  return machine;
}

Sandbox* OnDocker::box = nullptr;

void OnDocker::SetUp() {
  box = docker_machine().begin();
  ASSERT_NE(box, nullptr);
}

void OnDocker::TearDown() {
  if (!IsSkipped()) docker_machine().end();
}

}  // namespace cl::e2e
