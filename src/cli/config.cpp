#include "src/cli/config.hpp"

#include <boost/json.hpp>
#include <iostream>
#include <thread>

#include "profiles/edit.hpp"
#include "profiles/parse.hpp"
#include "src/base/file.hpp"
#include "src/cli/habits.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {

namespace json = boost::json;

namespace {

const Key& key_of(const Invocation& call) {
  const std::string name = call.word("KEY");
  if (const Key* key = find_key(name)) return *key;
  throw Error(Errc::invalid_config, "there is no key '" + name + "'" + did_you_mean(name),
              "'colima-like config show --effective' lists them all");
}

/// What the machine runs with, or last ran with; nothing when it was never started.
std::optional<State> last_run(const ProfilePaths& paths) {
  auto state = load_state(paths);
  if (state && state->since == 0) state.reset();
  return state;
}

std::string command_for(const Key& key, const Profile& from, const Profile& to) {
  const bool shrinks = key.name == "disk" && to.disk < from.disk;
  if (key.change == Change::recreate || shrinks) return "refused: would lose " + std::string(key.loses);
  return key.change == Change::live ? "colima-like apply" : "colima-like restart";
}

}  // namespace

ConfigFile config_file(const Invocation& call) {
  ConfigFile config{profile_paths(call.home, call.profile), call.user_template, {}};
  config.file = config.is_template ? config.paths.user_template : config.paths.config;
  // A link leads into somebody's collection of dot files: the file there is written, the link stays.
  if (is_link(config.file)) config.file = real_path(config.file);
  return config;
}

std::string ConfigFile::read() const {
  if (auto bytes = read_file_if_exists(file)) return *bytes;
  return (is_template ? "# The template: what new profiles start from. A profile that exists keeps the one it was made "
                        "with.\n"
                      : "") +
         default_profile_yaml();
}

Layered ConfigFile::check(const std::string& yaml, const std::string& name) const {
  if (!is_template) {
    Layered wanted = check_layers(paths, yaml, name);
    if (const auto state = load_state(paths)) refuse_recreation(paths, state->profile, wanted);
    return wanted;
  }
  Layered wanted;
  Parsed parsed = parse_profile(yaml, name);
  if (parsed.problems.empty()) parsed.problems = cl::check(parsed.profile, host_facts());
  if (!parsed.problems.empty()) throw invalid(name + " is not valid", parsed.problems, "correct it");
  wanted.profile = parsed.profile;
  return wanted;
}

Layered ConfigFile::install(const std::string& yaml) const {
  Layered wanted = check(yaml, file.string());
  if (is_template) {
    make_private_directory(file.parent_path());
  } else {
    create_profile(paths);
  }
  write_atomically(file, yaml);
  return wanted;
}

FileLock ConfigFile::lock() const {
  make_private_directory(is_template ? paths.user_template.parent_path() : paths.directory);
  const fs::path lock_file = is_template ? paths.user_template.parent_path() / "template.lock" : paths.config_lock;
  constexpr int tries = 100;
  for (int i = 0; i < tries; ++i) {
    if (auto held = FileLock::try_acquire(lock_file)) return std::move(*held);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  throw Error(Errc::busy, "somebody else is changing " + file.string(), "try again in a moment");
}

void tell_what_to_do(const ConfigFile& config, const Layered& wanted) {
  if (config.is_template || !observe(config.paths).machine_alive) return;
  const auto state = load_state(config.paths);
  if (!state) return;
  bool live = false;
  std::string restart;
  for (const Difference& one : differences(state->profile, wanted.profile, host_facts())) {
    if (one.key->change == Change::live) live = true;
    if (one.key->change == Change::restart) restart += (restart.empty() ? "" : ", ") + std::string(one.key->name);
  }
  if (live) print_note("the machine runs: 'colima-like apply " + config.paths.name + "' makes it use this");
  if (!restart.empty()) print_note("'colima-like restart " + config.paths.name + "' is needed for " + restart);
}

namespace {

/// The first profile is what a new user asks about before it is there; any other name that is none is a mistake.
void require_unless_first(const ProfilePaths& paths) {
  if (paths.name != "default") require_profile(paths);
}

}  // namespace

int run_config_get(const Invocation& call) {
  const Key& key = key_of(call);
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_unless_first(paths);
  std::cout << key.get(load_layers(paths, environment_settings(), {}).profile) << '\n';
  return 0;
}

namespace {

int change(const Invocation& call, const std::function<std::string(const std::string&, const Key&)>& edit) {
  const Key& key = key_of(call);
  const ConfigFile config = config_file(call);
  const bool is_new = !file_exists(config.paths.directory);
  std::exception_ptr failure;
  try {
    const FileLock lock = config.lock();
    const std::string before = config.read();
    const std::string after = edit(before, key);
    Layered wanted;
    if (after == before) {
      wanted = config.check(after, config.file.string());
    } else {
      wanted = config.install(after);
    }
    tell_what_to_do(config, wanted);
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) return 0;
  if (is_new && !config.is_template) remove_tree(config.paths.directory);  // as if it had not been asked for
  std::rethrow_exception(failure);
}

}  // namespace

int run_config_set(const Invocation& call) {
  return change(call, [&](const std::string& yaml, const Key& key) {
    std::string value = value_as_ours(key.name, call.word("VALUE"));
    if (key.name == "image" || key.name == "containerd.tools") value = with_digest(value);
    return set_in_file(yaml, key, value, config_file(call).file.string());
  });
}

int run_config_unset(const Invocation& call) {
  return change(call, [&](const std::string& yaml, const Key& key) {
    return unset_in_file(yaml, key, config_file(call).file.string());
  });
}

std::string without_passwords(std::string text) {
  constexpr std::string_view scheme_end = "://", url_end = "/?# \t\r\n\"',]";
  for (std::size_t at = 0; (at = text.find(scheme_end, at)) != std::string::npos;) {
    at += scheme_end.size();
    // The last @ before the path: a password may have one, too.
    const std::size_t end = text.find_first_of(url_end, at);
    const std::size_t sign = std::string_view(text).substr(0, end).rfind('@');
    if (sign == std::string::npos || sign < at) continue;
    text.replace(at, sign - at, "***");
  }
  return text;
}

int run_config_show(const Invocation& call) {
  const ConfigFile config = config_file(call);
  if (!call.effective) {
    if (!config.is_template) require_profile(config.paths);
    std::cout << config.read();
    return 0;
  }
  require_unless_first(config.paths);
  const Layered layered = load_layers(config.paths, environment_settings(), {});
  json::array all;
  std::vector<std::vector<std::string>> rows{{"KEY", "VALUE", "FROM", "CHANGE"}};
  for (const Key& key : keys()) {
    const std::string value = without_passwords(key.get(layered.profile)), from(to_string(layered.source(key.name)));
    const std::string change(to_string(key.change));
    rows.push_back({std::string(key.name), value, from, change});
    all.push_back(json::object{{"key", key.name},
                               {"value", key.kind == Kind::scalar ? json::value(value) : json::parse(value)},
                               {"from", from},
                               {"change", change}});
  }
  if (call.json) {
    print_json(all);
  } else {
    print_table(rows);
  }
  return 0;
}

int run_config_check(const Invocation& call) {
  const ConfigFile config = config_file(call);
  const std::string file = call.word("FILE");
  if (file.empty() && !config.is_template) require_profile(config.paths);
  const std::string name = file.empty() ? config.file.string() : file;
  config.check(file.empty() ? config.read() : read_file(file), name);
  std::cout << name << " is valid\n";
  return 0;
}

int run_config_diff(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  const Layered wanted = load_layers(paths, environment_settings(), {});
  const auto state = last_run(paths);
  json::array all;
  std::vector<std::vector<std::string>> rows{{"KEY", "MACHINE", "WANTED", "FROM", "NEEDS"}};
  if (state)
    for (const Difference& one : differences(state->profile, wanted.profile, host_facts())) {
      const std::string name(one.key->name), from(to_string(wanted.source(name)));
      const std::string needs = command_for(*one.key, state->profile, wanted.profile);
      rows.push_back({name, one.from, one.to, from, needs});
      all.push_back(json::object{{"key", name},
                                 {"machine", one.from},
                                 {"wanted", one.to},
                                 {"from", from},
                                 {"change", to_string(one.key->change)},
                                 {"needs", needs}});
    }
  if (call.json) {
    print_json(all);
  } else if (!state) {
    print_note("the machine was never started: there is nothing to compare with");
  } else if (all.empty()) {
    print_note("the machine has what the profile wants");
  } else {
    print_table(rows);
  }
  return 0;
}

int run_config_schema(const Invocation&) {
  print_json(json::parse(json_schema()));
  return 0;
}

}  // namespace cl::cli
