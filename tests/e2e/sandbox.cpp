#include "tests/e2e/sandbox.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>

#include "src/base/error.hpp"
#include "src/base/file.hpp"

namespace cl::e2e {
namespace {

/// A file of /proc; empty when the process is gone meanwhile.
std::string read_proc(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string arguments_of(pid_t pid) {
  std::string text = read_proc("/proc/" + std::to_string(pid) + "/cmdline");
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text;
}

std::vector<pid_t> processes_mentioning(const std::string& text, pid_t except) {
  std::vector<pid_t> found;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator("/proc", ec)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const pid_t pid = std::atoi(name.c_str());
    if (pid == ::getpid() || pid == except) continue;
    // Both end a value where the sandbox's path ends, so that /tmp/cl-ab is not found in /tmp/cl-abc.
    const std::string all = read_proc(entry.path() / "cmdline") + read_proc(entry.path() / "environ");
    if (all.find(text + '/') != std::string::npos || all.find(text + '\0') != std::string::npos) found.push_back(pid);
  }
  return found;
}

constexpr const char* accel_verdicts = "accel.json";

/// Sandboxes that are there: a test that fails in one that it shares shows what was logged until then. Later tests
/// would push it out of what is shown at the end.
class LogsOfFailures : public testing::EmptyTestEventListener {
 public:
  static LogsOfFailures& instance() {
    static auto* const listener = [] {
      auto* made = new LogsOfFailures;
      testing::UnitTest::GetInstance()->listeners().Append(made);  // which owns it
      return made;
    }();
    return *listener;
  }
  void OnTestEnd(const testing::TestInfo& test) override {
    if (!test.result()->Failed()) return;
    for (const Sandbox* sandbox : sandboxes) sandbox->show_logs();
  }

  std::vector<const Sandbox*> sandboxes;
};

}  // namespace

std::string program() {
  const char* other = std::getenv("COLIMA_LIKE_E2E_PROGRAM");
  return other != nullptr ? other : COLIMA_LIKE_E2E_PROGRAM;
}

Sandbox::Sandbox() {
  ::signal(SIGINT, SIG_DFL);  // a script's background jobs ignore it, and so would all that is started here
  std::string name = "/tmp/cl-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) throw io_error("cannot create " + name, errno);
  root_ = name;
  for (const char* part : {"home", "user", "docker", "out"}) fs::create_directory(root_ / part);
  fs::permissions(home(), fs::perms::owner_all);
  cache_ = shared_cache();

  // Ends everything when this process was killed: its end of the pipe closes without the byte that means goodbye.
  int ends[2];
  if (::pipe(ends) != 0) throw io_error("cannot create a pipe", errno);
  keeper_ = ::fork();
  if (keeper_ == 0) {
    ::setsid();
    ::close(ends[1]);
    const int null = ::open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
    char byte = 0;
    if (::read(ends[0], &byte, 1) == 0) {
      for (const pid_t pid : processes_mentioning(root_, -1)) ::kill(pid, SIGKILL);
      std::error_code ignored;
      fs::remove_all(root_, ignored);
    }
    ::_exit(0);
  }
  ::close(ends[0]);
  keeper_pipe_.reset(ends[1]);
  ::fcntl(ends[1], F_SETFD, FD_CLOEXEC);
  LogsOfFailures::instance().sandboxes.push_back(this);
}

Sandbox::~Sandbox() {
  if (cache_ != shared_cache() && fs::exists(cache_ / accel_verdicts)) {
    std::error_code ignored;
    fs::copy_file(cache_ / accel_verdicts, shared_cache() / accel_verdicts, fs::copy_options::overwrite_existing,
                  ignored);
  }
  std::erase(LogsOfFailures::instance().sandboxes, this);
  for (auto action = exits_.rbegin(); action != exits_.rend(); ++action) (*action)();
  if (testing::Test::HasFailure()) show_logs();  // of the test that it goes with, or of a suite's own steps
  expect_no_sanitizer_report();
  if (fs::exists(home()))
    for (const auto& entry : fs::directory_iterator(home()))
      if (entry.is_directory()) cl({"delete", "--data", "--force", "--profile", entry.path().filename()}, {}, 150s);
  // Daemons leave a moment after their answer. What does not leave at all is a fault, and is ended.
  if (!eventually(20s, [this] { return processes().empty(); })) {
    ADD_FAILURE() << "still running after everything was deleted:\n" << process_list();
    for (const pid_t pid : processes()) ::kill(pid, SIGKILL);
  }
  if (::write(keeper_pipe_.get(), "x", 1) != 1) std::cerr << "the keeper of " << root_ << " is gone\n";
  ::waitpid(keeper_, nullptr, 0);
  std::error_code ignored;
  fs::remove_all(root_, ignored);
}

bool Sandbox::has_virtiofsd() {
  for (const fs::path& path : {fs::path("virtiofsd"), fs::path("/usr/libexec/virtiofsd"),
                               fs::path("/usr/lib/qemu/virtiofsd"), shared_cache() / "tools/bin/virtiofsd"})
    if (find_program(path.string())) return true;
  return false;
}

fs::path Sandbox::shared_cache() {
  if (const char* cache = std::getenv("COLIMA_LIKE_CACHE"); cache != nullptr && *cache != '\0') return cache;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0')
    return fs::path(cache) / "colima-like";
  const char* user = std::getenv("HOME");
  return fs::path(user != nullptr ? user : "/root") / ".cache" / "colima-like";
}

fs::path Sandbox::use_private_cache() {
  cache_ = root_ / "cache";
  fs::create_directory(cache_);
  // What was found out about this computer is as true here: a probe takes up to 40 s.
  std::error_code none_yet;
  fs::copy_file(shared_cache() / accel_verdicts, cache_ / accel_verdicts, none_yet);
  return cache_;
}

std::vector<std::string> Sandbox::with_environment() const {
  std::vector<std::string> all{
      "HOME=" + (root_ / "user").string(),
      "XDG_CACHE_HOME",
      "COLIMA_LIKE_HOME=" + home().string(),
      "COLIMA_LIKE_CACHE=" + cache_.string(),
      "COLIMA_LIKE_PROFILE",
      "DOCKER_CONFIG=" + (root_ / "docker").string(),
      "DOCKER_HOST",
      "DOCKER_CONTEXT",
  };
  all.insert(all.end(), environment_.begin(), environment_.end());
  return all;
}

std::unique_ptr<Process> Sandbox::start(std::vector<std::string> argv) {
  return std::make_unique<Process>(std::move(argv), with_environment(), root_ / "out");
}
std::unique_ptr<Process> Sandbox::start_cl(std::vector<std::string> args) {
  args.insert(args.begin(), program());
  return start(std::move(args));
}
std::unique_ptr<Process> Sandbox::start_docker(std::vector<std::string> args) {
  args.insert(args.begin(), "docker");
  return start(std::move(args));
}
std::unique_ptr<Terminal> Sandbox::terminal_cl(std::vector<std::string> args, int columns, int rows) {
  args.insert(args.begin(), program());
  return std::make_unique<Terminal>(args, with_environment(), columns, rows);
}
std::unique_ptr<Terminal> Sandbox::terminal_docker(std::vector<std::string> args, int columns, int rows) {
  args.insert(args.begin(), "docker");
  return std::make_unique<Terminal>(args, with_environment(), columns, rows);
}

Result Sandbox::run(std::vector<std::string> argv, std::string_view input, std::chrono::seconds limit) {
  auto process = start(std::move(argv));
  process->write(input);
  return process->wait(limit);
}
Result Sandbox::cl(std::vector<std::string> args, std::string_view input, std::chrono::seconds limit) {
  args.insert(args.begin(), program());
  return run(std::move(args), input, limit);
}
Result Sandbox::docker(std::vector<std::string> args, std::string_view input, std::chrono::seconds limit) {
  args.insert(args.begin(), "docker");
  return run(std::move(args), input, limit);
}

boost::json::object Sandbox::status(const std::string& profile) {
  const Result result = cl({"status", "--json", profile});
  boost::system::error_code ec;
  const auto value = boost::json::parse(result.out, ec);
  if (!ec && value.is_object()) return value.as_object();
  ADD_FAILURE() << "status --json printed no JSON object:" << result;
  return {};
}

std::string Sandbox::state(const std::string& profile) {
  const auto all = status(profile);
  const auto* text = all.if_contains("state");
  return text != nullptr && text->is_string() ? std::string(text->as_string()) : "";
}

fs::path Sandbox::busybox_tree() {
  const fs::path tree = root_ / "busybox";
  if (fs::exists(tree)) return tree;
  const auto busybox = find_program("busybox");
  if (!busybox) throw Error(Errc::host_requirement, "busybox is not installed", "scripts/setup --tests");
  fs::create_directories(tree / "bin");
  fs::create_directories(tree / "tmp");
  fs::copy_file(*busybox, tree / "bin/busybox");
  for (const char* applet :
       {"cat", "cksum", "date",      "dd",    "echo", "false", "head", "id",    "kill", "ls",    "md5sum", "printf",
        "ps",  "sh",    "sha256sum", "sleep", "stty", "sync",  "test", "touch", "true", "uname", "wc"})
    fs::create_symlink("busybox", tree / "bin" / applet);
  return tree;
}

void Sandbox::import_busybox(const std::string& image) {
  const fs::path tar = root_ / "busybox.tar";
  ASSERT_OK(run({"tar", "-C", busybox_tree().string(), "-cf", tar.string(), "."}));
  ASSERT_OK(docker({"import", tar.string(), image}));
}

std::vector<pid_t> Sandbox::processes() const { return processes_mentioning(root_, keeper_); }

namespace {

bool is_daemon(pid_t pid) { return arguments_of(pid).find("colima-like daemon ") != std::string::npos; }

pid_t parent_of(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::string word;
  pid_t parent = 0;
  while (status >> word)
    if (word == "PPid:" && status >> parent) break;
  return parent;
}

}  // namespace

std::vector<pid_t> Sandbox::supervisors() const {
  std::set<pid_t> parents;
  for (const pid_t pid : processes())
    if (is_daemon(pid)) parents.insert(parent_of(pid));
  std::vector<pid_t> found;
  for (const pid_t pid : processes())
    if (is_daemon(pid) && parents.contains(pid)) found.push_back(pid);
  return found;
}

std::vector<pid_t> Sandbox::daemons() const {
  const std::vector<pid_t> parents = supervisors();
  std::vector<pid_t> found;
  for (const pid_t pid : processes())
    if (is_daemon(pid) && std::find(parents.begin(), parents.end(), pid) == parents.end()) found.push_back(pid);
  return found;
}

void Sandbox::kill_daemons() const {
  for (const pid_t pid : supervisors()) ::kill(pid, SIGKILL);
  for (const pid_t pid : daemons()) ::kill(pid, SIGKILL);
}

std::vector<pid_t> Sandbox::hypervisors() const {
  std::vector<pid_t> found;
  for (const pid_t pid : processes())
    if (const std::string arguments = arguments_of(pid); arguments.find("-name guest=") != std::string::npos)
      found.push_back(pid);  // QEMU, or the stand-in for it
  return found;
}

std::string Sandbox::process_list() const {
  std::string text;
  for (const pid_t pid : processes()) text += std::to_string(pid) + ": " + arguments_of(pid) + '\n';
  return text;
}

void Sandbox::show_logs() const {
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(home(), ec))
    for (const char* log : {"daemon.log", "console.log", "qemu.log", "vfkit.log"}) {
      const fs::path file = entry.path() / "log" / log;
      if (fs::exists(file)) std::cerr << "--- the end of " << file.string() << "\n" << tail_lines(file, 40) << "\n";
    }
}

void Sandbox::expect_no_sanitizer_report() const {
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(home(), ec)) {
    const fs::path file = entry.path() / "log" / "daemon.log";
    const std::string text = read_file_if_exists(file).value_or("");
    for (const char* mark : {"ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:"})
      if (const auto at = text.find(mark); at != std::string::npos)
        ADD_FAILURE() << "the daemon's log has a sanitizer's report:\n" << text.substr(at, 6000);
  }
}

std::string engine_answer(const fs::path& socket, const std::string& path, std::chrono::seconds limit) {
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval most{limit.count(), 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket.string().copy(address.sun_path, sizeof(address.sun_path) - 1);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return "";
  const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";  // which knows neither chunks nor kept connections
  if (::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return "";
  std::string answer;
  char space[4096];
  for (ssize_t got = 0; (got = ::recv(fd.get(), space, sizeof(space), 0)) != 0;) {
    if (got < 0) return "";
    answer.append(space, static_cast<std::size_t>(got));
  }
  const auto head = answer.find("\r\n\r\n");
  return head == std::string::npos ? "" : answer.substr(head + 4);
}

bool any_listens_on_ip(const std::vector<pid_t>& pids, bool udp_too) {
  // The inode of each listening TCP (state 0A) and bound, unconnected UDP (07) socket of this host.
  std::set<std::string> listening;
  for (const auto& [table, state] : {std::pair{"tcp", "0A"}, {"tcp6", "0A"}, {"udp", "07"}, {"udp6", "07"}}) {
    if (!udp_too && std::string_view(table).starts_with("udp")) continue;
    std::istringstream lines(read_proc(std::string("/proc/net/") + table));
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
      std::istringstream words(line);
      std::string word[10];
      for (auto& w : word) words >> w;
      if (word[3] == state) listening.insert("socket:[" + word[9] + "]");
    }
  }
  for (const pid_t pid : pids) {
    std::error_code ec;
    for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd", ec)) {
      const fs::path target = fs::read_symlink(entry.path(), ec);
      if (!ec && listening.contains(target.string())) return true;
    }
  }
  return false;
}

bool alive(pid_t pid) {
  const std::string stat = read_proc("/proc/" + std::to_string(pid) + "/stat");
  const auto after_name = stat.rfind(") ");
  return after_name != std::string::npos && stat[after_name + 2] != 'Z';
}

std::vector<std::string> in_mount_namespace(const std::string& script) {
  std::vector<std::string> unshare{"unshare", "--mount"};
  if (::geteuid() != 0) unshare.emplace_back("--map-root-user");
  std::string probe;
  for (const std::string& word : unshare) probe += word + ' ';
  probe += "mount -t tmpfs none /mnt 2>/dev/null";
  if (std::system(probe.c_str()) != 0) return {};
  unshare.insert(unshare.end(), {"sh", "-c", "set -e; " + script + "; exec \"$0\" \"$@\""});
  return unshare;
}

std::vector<std::string> without_programs(const std::vector<std::string>& names) {
  std::string script = ":";
  for (const std::string& name : names)
    for (const char* directory : {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"})
      if (const fs::path path = fs::path(directory) / name; fs::exists(path))
        script += "; mount --bind /dev/null '" + fs::canonical(path).string() + "'";
  return in_mount_namespace(script);
}

void expect_error(const Result& result, int code, const std::vector<std::string>& texts) {
  EXPECT_EQ(result.code, code) << result;
  EXPECT_EQ(result.out, "") << result;
  EXPECT_NE(result.err.find("error: "), std::string::npos) << result;
  for (const std::string& text : texts)
    EXPECT_NE(result.err.find(text), std::string::npos) << "no '" << text << "' in" << result;
}

}  // namespace cl::e2e
