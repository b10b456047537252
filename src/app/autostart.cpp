#include "src/app/autostart.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/host.hpp"
#include "src/base/path.hpp"
#include "src/base/platform.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;

/// How long a session's end waits for a machine to be saved.
constexpr int suspend_seconds = 120;
constexpr std::string_view lingering = "/var/lib/systemd/linger";

// ---- systemd's grammar

/// One word of a unit's line. In a command line '$' stands for a variable, too.
std::string unit_word(std::string_view text, bool of_command) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '%' || (c == '$' && of_command)) out += c;
    out += c;
  }
  return out + "\"";
}

/// The text of a quoted word that begins at `text`; which ends behind it.
std::string take_unit_word(std::string_view& text, bool of_command) {
  std::string out;
  const auto begin = text.find('"');
  std::size_t at = begin == std::string_view::npos ? text.size() : begin + 1;
  for (; at < text.size() && text[at] != '"'; ++at) {
    const bool twice = text[at] == '\\' || text[at] == '%' || (text[at] == '$' && of_command);
    if (twice && at + 1 < text.size()) ++at;
    out += text[at];
  }
  text.remove_prefix(std::min(text.size(), at + 1));
  return out;
}

// ---- XML

std::string xml(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}

std::string plain(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    std::size_t used = 1;
    char c = text.front();
    for (const auto& [name, meant] : {std::pair{std::string_view("&amp;"), '&'}, {"&lt;", '<'}, {"&gt;", '>'}})
      if (text.starts_with(name)) {
        used = name.size();
        c = meant;
      }
    out += c;
    text.remove_prefix(used);
  }
  return out;
}

/// What stands in the next <name>...</name>, behind which `text` then begins; nothing when there is none.
std::optional<std::string_view> take_element(std::string_view& text, const std::string& name) {
  const std::string open = "<" + name + ">", close = "</" + name + ">";
  const auto begin = text.find(open);
  if (begin == std::string_view::npos) return std::nullopt;
  const auto end = text.find(close, begin);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view inside = text.substr(begin + open.size(), end - begin - open.size());
  text.remove_prefix(end + close.size());
  return inside;
}

/// The <dict> or <array> that follows <key>name</key>.
std::string_view value_of(std::string_view text, const std::string& key, const std::string& element) {
  const auto at = text.find("<key>" + key + "</key>");
  if (at == std::string_view::npos) return {};
  text.remove_prefix(at);
  return take_element(text, element).value_or(std::string_view());
}

// ---- places

bool on_macos() { return host_facts().os == "macos"; }

std::string unit_name(const std::string& profile) { return "colima-like-" + profile + ".service"; }
std::string label_of(const std::string& profile) { return "colima-like." + profile; }

fs::path units() {
  const char* config = std::getenv("XDG_CONFIG_HOME");
  return (config != nullptr && *config == '/' ? fs::path(config) : user_home() / ".config") / "systemd" / "user";
}

/// That a unit is enabled is a link of this name.
fs::path wanted_link(const std::string& profile) { return units() / "default.target.wants" / unit_name(profile); }

/// The program as it is found in PATH where that is the one that runs: Homebrew's real path is another with each
/// version.
fs::path lasting_program() {
  const fs::path real = platform::executable();
  const auto found = find_program("colima-like");
  std::error_code gone;
  return found && fs::equivalent(*found, real, gone) ? absolute_path(*found) : real;
}

/// The absolute folders of PATH. A session's own is short, and has no Homebrew in it.
std::string lasting_path() {
  const char* value = std::getenv("PATH");
  std::string_view rest = value != nullptr ? value : "";
  std::string out;
  while (!rest.empty()) {
    const auto end = rest.find(':');
    const std::string_view folder = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (!folder.starts_with('/') || (":" + out + ":").find(fmt::format(":{}:", folder)) != std::string::npos) continue;
    out += (out.empty() ? "" : ":") + std::string(folder);
  }
  return out.empty() ? "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" : out;
}

AutostartJob wanted_job(const Home& home, const std::string& profile) {
  AutostartJob job;
  job.program = lasting_program();
  job.profile = profile;
  job.environment = {{"PATH", lasting_path()},
                     {"COLIMA_LIKE_HOME", home.profiles.string()},
                     {"COLIMA_LIKE_CACHE", home.cache.string()}};
  if (const char* config = std::getenv("DOCKER_CONFIG"); config != nullptr && *config != '\0')
    job.environment.emplace_back("DOCKER_CONFIG", config);
  job.log = profile_paths(home, profile).log_directory / "autostart.log";
  for (const auto& [name, value] : job.environment)
    if (value.find('\n') != std::string::npos)
      throw Error(Errc::invalid_config, name + " has more than one line", "set it to one without line breaks");
  return job;
}

std::string home_of(const AutostartJob& job) {
  for (const auto& [name, value] : job.environment)
    if (name == "COLIMA_LIKE_HOME") return value;
  return {};
}

/// A program of the system, whose failure is a note and no error: the file is what counts at the next login.
asio::awaitable<std::string> tell_system(std::vector<std::string> argv) {
  Command command;
  command.argv = std::move(argv);
  std::string failed;
  try {
    const Finished done = co_await run(std::move(command), "", 30s);
    if (!done.status.ok()) failed = last_lines(done.errors, 1);
    if (!done.status.ok() && failed.empty()) failed = done.status.str();
  } catch (const Error& error) {
    failed = one_line(error);
  }
  co_return failed;
}

std::string domain() { return "gui/" + std::to_string(::getuid()); }

asio::awaitable<std::string> tell_launchd(Autostart place, std::string profile, bool runs) {
  std::vector<std::string> enable{"launchctl", "enable", domain() + "/" + label_of(profile)};
  std::string failed = co_await tell_system(std::move(enable));
  if (failed.empty() && runs) {
    std::vector<std::string> load{"launchctl", "bootstrap", domain(), place.file.string()};
    failed = co_await tell_system(std::move(load));
  }
  co_return failed.empty() ? "" : "launchd does not take it now, but at the next login: " + failed;
}

asio::awaitable<std::string> tell_systemd(std::string profile, bool runs) {
  std::vector<std::string> reload{"systemctl", "--user", "daemon-reload"};
  std::string failed = co_await tell_system(std::move(reload));
  if (failed.empty() && runs) {
    std::vector<std::string> begin{"systemctl", "--user", "--no-block", "start", unit_name(profile)};
    failed = co_await tell_system(std::move(begin));
  }
  co_return failed.empty() ? "" : "systemd does not take it now, but at the next login: " + failed;
}

}  // namespace

std::string systemd_unit(const AutostartJob& job) {
  std::string environment;
  for (const auto& [name, value] : job.environment)
    environment += "Environment=" + unit_word(name + "=" + value, false) + "\n";
  const std::string program = unit_word(job.program.string(), true), profile = unit_word(job.profile, true);
  // The daemon belongs to the unit: what is left of it when the machine was saved ends with the unit.
  return fmt::format(
      "# Written by 'colima-like autostart enable'; 'colima-like autostart disable' removes it.\n"
      "[Unit]\n"
      "Description=colima-like, profile {0}\n"
      "Documentation=man:colima-like(1)\n"
      "\n"
      "[Service]\n"
      "Type=oneshot\n"
      "RemainAfterExit=yes\n"
      "{1}"
      "ExecStart={2} start {3}\n"
      "ExecStop=-{2} autostart-end {3}\n"
      "TimeoutStopSec={4}\n"
      "\n"
      "[Install]\n"
      "WantedBy=default.target\n",
      job.profile, environment, program, profile, suspend_seconds);
}

std::string launch_agent(const AutostartJob& job) {
  std::string environment;
  for (const auto& [name, value] : job.environment)
    environment += fmt::format("    <key>{}</key>\n    <string>{}</string>\n", xml(name), xml(value));
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n"
      "<!-- Written by 'colima-like autostart enable'; 'colima-like autostart disable' removes it. -->\n"
      "<plist version=\"1.0\">\n"
      "<dict>\n"
      "  <key>Label</key>\n"
      "  <string>{0}</string>\n"
      "  <key>ProgramArguments</key>\n"
      "  <array>\n"
      "    <string>{1}</string>\n"
      "    <string>autostart-hold</string>\n"
      "    <string>{2}</string>\n"
      "  </array>\n"
      "  <key>EnvironmentVariables</key>\n"
      "  <dict>\n"
      "{3}"
      "  </dict>\n"
      "  <key>RunAtLoad</key>\n"
      "  <true/>\n"
      "  <key>AbandonProcessGroup</key>\n"
      "  <true/>\n"
      "  <key>ExitTimeOut</key>\n"
      "  <integer>{4}</integer>\n"
      "  <key>StandardOutPath</key>\n"
      "  <string>{5}</string>\n"
      "  <key>StandardErrorPath</key>\n"
      "  <string>{5}</string>\n"
      "</dict>\n"
      "</plist>\n",
      xml(label_of(job.profile)), xml(job.program.string()), xml(job.profile), environment, suspend_seconds,
      xml(job.log.string()));
}

AutostartJob parse_systemd_unit(std::string_view text) {
  constexpr std::string_view environment = "Environment=", start = "ExecStart=";
  AutostartJob job;
  while (!text.empty()) {
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (line.starts_with(environment)) {
      line.remove_prefix(environment.size());
      const std::string entry = take_unit_word(line, false);
      const auto sign = entry.find('=');
      if (sign != std::string::npos) job.environment.emplace_back(entry.substr(0, sign), entry.substr(sign + 1));
    } else if (line.starts_with(start)) {
      line.remove_prefix(start.size());
      job.program = take_unit_word(line, true);
      job.profile = take_unit_word(line, true);
    }
  }
  return job;
}

AutostartJob parse_launch_agent(std::string_view text) {
  AutostartJob job;
  std::string_view arguments = value_of(text, "ProgramArguments", "array");
  std::vector<std::string> words;
  while (const auto word = take_element(arguments, "string")) words.push_back(plain(*word));
  if (!words.empty()) {
    job.program = words.front();
    job.profile = words.back();
  }
  std::string_view environment = value_of(text, "EnvironmentVariables", "dict");
  while (const auto name = take_element(environment, "key"))
    if (const auto value = take_element(environment, "string"))
      job.environment.emplace_back(plain(*name), plain(*value));
  job.log = plain(value_of(text, "StandardOutPath", "string"));
  return job;
}

Autostart observe_autostart(const Home& home, const std::string& profile) {
  Autostart seen;
  const bool agent = on_macos();
  seen.by = agent ? "launchd" : "systemd";
  seen.file =
      agent ? user_home() / "Library" / "LaunchAgents" / (label_of(profile) + ".plist") : units() / unit_name(profile);
  const auto text = read_file_if_exists(seen.file);
  if (!text) return seen;
  seen.job = agent ? parse_launch_agent(*text) : parse_systemd_unit(*text);
  seen.enabled = agent || is_link(wanted_link(profile));
  seen.at_boot = !agent && file_exists(fs::path(lingering) / user_name());
  judge_autostart(seen, home, lasting_program());
  return seen;
}

void judge_autostart(Autostart& seen, const Home& home, const fs::path& program) {
  const std::string again = "colima-like autostart enable " + seen.job.profile;
  const std::string other = home_of(seen.job);
  if (other != home.profiles.string()) {
    seen.problem = "it is for the profile of that name in " + other;
    seen.remedy = "COLIMA_LIKE_HOME=" + other + " colima-like autostart disable " + seen.job.profile;
  } else if (!file_exists(home.profiles / seen.job.profile / "profile.yaml")) {
    seen.problem = "its profile is gone";
    seen.remedy = "colima-like autostart disable " + seen.job.profile;
  } else if (::access(seen.job.program.c_str(), X_OK) != 0) {
    seen.problem = "its program is gone: " + seen.job.program.string();
    seen.remedy = again;
  } else if (seen.job.program != program) {
    seen.problem = fmt::format("it starts {}, and this is {}", seen.job.program.string(), program.string());
    seen.remedy = again;
  } else if (!seen.enabled) {
    seen.problem = "its unit is there and is not enabled";
    seen.remedy = again;
  }
}

asio::awaitable<std::string> enable_autostart(Home home, std::string profile, bool runs) {
  const Autostart before = observe_autostart(home, profile);
  const bool agent = before.by == "launchd";
  if (!home_directory()) throw Error(Errc::host_requirement, "there is no home directory", "set HOME");
  if (!find_program(agent ? "launchctl" : "systemctl"))
    throw Error(Errc::host_requirement, "this computer has no " + before.by + ", which starts programs at a login",
                "have what starts your session run '" + lasting_program().string() + " start " + profile + "'");
  if (file_exists(before.file) && home_of(before.job) != home.profiles.string())
    throw Error(Errc::busy, before.file.string() + " is for the profile of that name in " + home_of(before.job),
                "give one of the two another name with 'colima-like rename', or " + before.remedy);
  const AutostartJob job = wanted_job(home, profile);
  std::error_code failure;
  fs::create_directories(agent ? before.file.parent_path() : wanted_link(profile).parent_path(), failure);
  if (failure) throw file_error("make the folder of", before.file, failure.value());
  if (agent) make_private_directory(job.log.parent_path());  // launchd makes the file alone
  write_atomically(before.file, agent ? launch_agent(job) : systemd_unit(job), 0644);
  if (agent) co_return co_await tell_launchd(before, profile, runs);
  const fs::path link = wanted_link(profile);
  remove_file(link);
  if (::symlink(before.file.c_str(), link.c_str()) != 0) throw file_error("make", link, errno);
  co_return co_await tell_systemd(profile, runs);
}

asio::awaitable<bool> disable_autostart(Home home, std::string profile) {
  const Autostart before = observe_autostart(home, profile);
  if (!file_exists(before.file) || home_of(before.job) != home.profiles.string()) co_return false;
  if (before.by == "systemd") remove_file(wanted_link(profile));
  remove_file(before.file);
  // Not unloaded, where it is a launch agent: that would suspend the machine.
  if (before.by == "systemd") co_await tell_systemd(profile, false);
  co_return true;
}

std::optional<Finding> check_autostart(const Home& home, const std::string& profile) {
  const Autostart seen = observe_autostart(home, profile);
  if (!file_exists(seen.file)) return std::nullopt;
  if (!seen.problem.empty()) return Finding{"autostart", Verdict::warning, seen.problem, seen.remedy};
  return Finding{"autostart", Verdict::ok,
                 fmt::format("{} starts it {}", seen.by, seen.at_boot ? "at boot" : "at the first login"), ""};
}

}  // namespace cl
