#include "profiles/store.hpp"

#include <algorithm>
#include <cstdlib>

#include "profiles/parse.hpp"
#include "profiles/remote_host.hpp"
#include "src/base/file.hpp"

namespace cl {
namespace {

/// Reads a layer over `layered`; a missing file is an empty one.
void add_layer(Layered& layered, const std::string& yaml, const std::string& file, Source source,
               std::vector<Problem>& problems) {
  Parsed parsed = parse_profile(yaml, file, layered.profile);
  for (Problem& problem : parsed.problems) problems.push_back(std::move(problem));
  for (const auto& [name, place] : parsed.given) layered.sources[name] = source;
  layered.profile = std::move(parsed.profile);
}

void add_settings(Layered& layered, const Settings& settings, Source source, std::vector<Problem>& problems) {
  for (const auto& [name, text] : settings) {
    const Key* key = find_key(name);
    if (key == nullptr) {
      problems.push_back({name, "unknown key" + did_you_mean(name)});
    } else if (const auto wrong = key->set(layered.profile, text)) {
      problems.push_back({name, *wrong});
    } else {
      layered.sources[name] = source;
    }
  }
}

Layered base_layers(const ProfilePaths& paths, std::vector<Problem>& problems) {
  Layered layered;
  for (const Key& key : keys()) layered.sources[std::string(key.name)] = Source::built_in;
  // A profile keeps the template that it was made with: changing the template changes no profile that exists.
  const fs::path& file = file_exists(paths.config) ? paths.own_template : paths.user_template;
  if (const auto yaml = read_file_if_exists(file))
    add_layer(layered, *yaml, file.string(), Source::template_file, problems);
  return layered;
}

}  // namespace

Error invalid(const std::string& what, const std::vector<Problem>& problems, const std::string& remedy) {
  std::string list;
  for (const Problem& problem : problems) {
    if (!list.empty()) list += problems.size() > 1 ? "\n" : "; ";
    list += problem.where + ": " + problem.message;
  }
  return Error(Errc::invalid_config, what, remedy).because(list);
}

std::string_view to_string(Source source) {
  switch (source) {
    case Source::built_in: return "default";
    case Source::template_file: return "template";
    case Source::file: return "file";
    case Source::environment: return "environment";
    case Source::flag: return "flag";
  }
  return "?";
}

std::vector<std::string> list_profiles(const Home& home) {
  std::vector<std::string> names;
  for (const fs::path& path : list_folder(home.profiles)) {
    const std::string name = path.filename();
    if (!name.starts_with('.') && file_exists(path / "profile.yaml")) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

namespace {

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= 32 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_") == std::string::npos;
}

void write_current(const Home& home, const CurrentProfile& current) {
  make_private_directory(home.profiles);
  write_atomically(home.profiles / "current", current.name + "\n" + current.previous + "\n");
}

}  // namespace

CurrentProfile current_profile(const Home& home) {
  CurrentProfile current;
  const std::string bytes = read_file_if_exists(home.profiles / "current").value_or("");
  const auto end = bytes.find('\n');
  if (end == std::string::npos || !is_name(bytes.substr(0, end))) return current;
  current.name = bytes.substr(0, end);
  const std::string previous = bytes.substr(end + 1, bytes.find('\n', end + 1) - end - 1);
  if (is_name(previous)) current.previous = previous;
  return current;
}

void make_current(const Home& home, const std::string& name) {
  const CurrentProfile before = current_profile(home);
  if (before.name != name) write_current(home, {name, before.name});
}

void forget_current(const Home& home, const std::string& name) {
  const CurrentProfile before = current_profile(home);
  if (before.name != name && before.previous != name) return;
  const CurrentProfile after{before.name == name ? CurrentProfile{}.name : before.name, ""};
  if (after.name != CurrentProfile{}.name) return write_current(home, after);
  if (remove_file(home.profiles / "current")) sync_directory(home.profiles);  // what it would say holds without it
}

namespace {

/// What the layers say together: a host is no machine, and then what this computer cannot give.
std::vector<Problem> check(Layered& layered) {
  std::vector<Problem> problems;
  auto asked = [&layered](std::string_view key) { return layered.source(key) >= Source::file; };
  if (resolved_driver(layered.profile, host_facts()) == to_string(DriverWish::host))
    settle_remote_host(layered.profile, asked, problems);
  return problems.empty() ? check(layered.profile, host_facts()) : problems;
}

}  // namespace

Layered load_layers(const ProfilePaths& paths, const Settings& environment, const Settings& flags) {
  std::vector<Problem> problems;
  Layered layered = base_layers(paths, problems);
  if (const auto yaml = read_file_if_exists(paths.config))
    add_layer(layered, *yaml, paths.config.string(), Source::file, problems);
  if (!problems.empty())
    throw invalid("profile '" + paths.name + "' is not valid", problems, "colima-like config edit -p " + paths.name);
  add_settings(layered, environment, Source::environment, problems);
  add_settings(layered, flags, Source::flag, problems);
  for (Problem& problem : problems)
    if (environment.contains(problem.where) && !flags.contains(problem.where)) problem.where += " (environment)";
  if (problems.empty()) problems = check(layered);
  if (!problems.empty())
    throw invalid("these settings cannot be used", problems, "change the flag or the profile's file");
  return layered;
}

Layered check_layers(const ProfilePaths& paths, const std::string& yaml, const std::string& file) {
  std::vector<Problem> problems;
  Layered layered = base_layers(paths, problems);
  add_layer(layered, yaml, file, Source::file, problems);
  if (problems.empty()) problems = check(layered);
  if (!problems.empty()) throw invalid(file + " is not valid", problems, "correct it: every place is named");
  return layered;
}

Profile load_profile(const ProfilePaths& paths, const Settings& settings) {
  return load_layers(paths, {}, settings).profile;
}

Settings environment_settings() {
  Settings settings;
  for (const Key& key : keys()) {
    std::string name = "COLIMA_LIKE_";
    for (const char c : key.name)
      name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    if (const char* value = std::getenv(name.c_str()); value != nullptr && *value != '\0')
      settings[std::string(key.name)] = value;
  }
  return settings;
}

void refuse_recreation(const ProfilePaths& paths, const Profile& last, const Layered& wanted) {
  std::vector<Problem> refused;
  if (file_exists(paths.root_disk) || file_exists(paths.raw_root_disk))
    for (const Difference& one : differences(last, wanted.profile, host_facts()))
      if (one.key->change == Change::recreate)
        refused.push_back({std::string(one.key->name),
                           "from " + one.from + " to " + one.to + " would lose " + std::string(one.key->loses)});
  std::error_code missing;
  const std::uint64_t has = fs::file_size(paths.data_disk, missing);
  const bool asked = wanted.source("disk") >= Source::file;
  if (!missing && asked && wanted.profile.disk.count() < has)
    refused.push_back({"disk", "from " + ByteSize::bytes(has).str() + " to " + wanted.profile.disk.str() +
                                   " would lose " + std::string(find_key("disk")->loses)});
  if (refused.empty()) return;
  std::string names;
  for (const Problem& problem : refused) names += (names.empty() ? "" : ", ") + problem.where;
  const std::string data = refused.back().where == "disk" ? "--data " : "";
  throw invalid(
      "the machine of profile '" + paths.name + "' was made with another " + names, refused,
      "put it back, or make another profile with it; to give this machine up: colima-like delete " + data + paths.name);
}

void create_profile(const ProfilePaths& paths) {
  for (const auto& directory : {paths.directory, paths.run_directory, paths.log_directory, paths.keys_directory})
    make_private_directory(directory);
  if (file_exists(paths.config)) return;
  if (const auto yaml = read_file_if_exists(paths.user_template)) write_atomically(paths.own_template, *yaml);
  write_atomically(paths.config, default_profile_yaml());
}

}  // namespace cl
