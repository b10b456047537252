#include "profiles/store.hpp"

#include <algorithm>

#include "profiles/keys.hpp"
#include "profiles/parse.hpp"
#include "src/base/error.hpp"
#include "src/base/file.hpp"

namespace cl {
namespace {

Error too_many(const std::string& what, const std::vector<Problem>& problems, const std::string& remedy) {
  std::string list;
  for (const Problem& problem : problems) {
    if (!list.empty()) list += "; ";
    list += problem.where + ": " + problem.message;
  }
  return Error(Errc::invalid_config, what, remedy).because(list);
}

}  // namespace

std::vector<std::string> list_profiles(const Home& home) {
  std::vector<std::string> names;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(home.profiles, missing))
    if (fs::exists(entry.path() / "profile.yaml")) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

Profile load_profile(const ProfilePaths& paths, const Settings& settings) {
  Profile profile;
  if (const auto yaml = read_file_if_exists(paths.config)) {
    Parsed parsed = parse_profile(*yaml, paths.config.string());
    if (!parsed.problems.empty())
      throw too_many("profile '" + paths.name + "' is not valid", parsed.problems, "correct " + paths.config.string());
    profile = std::move(parsed.profile);
  }
  std::vector<Problem> problems;
  for (const auto& [name, text] : settings) {
    const Key* key = find_key(name);
    if (key == nullptr) {
      problems.push_back({name, "unknown key"});
    } else if (const auto wrong = key->set(profile, text)) {
      problems.push_back({name, *wrong});
    }
  }
  if (problems.empty()) problems = check(profile, host_facts());
  if (!problems.empty())
    throw too_many("these settings cannot be used", problems, "change the flag or the profile's file");
  return profile;
}

void create_profile(const ProfilePaths& paths) {
  for (const auto& directory : {paths.directory, paths.run_directory, paths.log_directory, paths.keys_directory})
    make_private_directory(directory);
  if (!fs::exists(paths.config)) write_atomically(paths.config, default_profile_yaml());
}

}  // namespace cl
