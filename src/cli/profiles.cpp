#include <boost/json/object.hpp>
#include <iostream>

#include "profiles/colima.hpp"
#include "profiles/edit.hpp"
#include "profiles/parse.hpp"
#include "profiles/state.hpp"
#include "src/app/transfer.hpp"
#include "src/base/file.hpp"
#include "src/cli/command.hpp"
#include "src/cli/config.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {

namespace json = boost::json;
namespace {

asio::awaitable<int> use(const Invocation& call) {
  const CurrentProfile current = current_profile(call.home);
  std::string name = call.word("PROFILE");
  if (name.empty()) {
    std::cout << current.name << '\n';
    co_return 0;
  }
  if (name == "-") name = current.previous;
  if (name.empty())
    throw Error(Errc::not_found, "no other profile was current before", "'colima-like list' shows the profiles");
  const ProfilePaths paths = profile_paths(call.home, name);
  require_profile(paths);
  make_current(call.home, name);
  std::string context, failure;
  try {
    context = co_await cl::use_context(paths);
  } catch (const Error& error) {
    failure = one_line(error);  // the profile is current all the same
  }
  if (!failure.empty()) print_note(failure);
  if (context.empty()) print_note("docker's context is not switched; use: eval \"$(colima-like env " + name + ")\"");
  if (!observe(paths).machine_alive) print_note("it is not running: 'colima-like start'");
  std::cout << "profile '" << name << "' is current"
            << (context.empty() ? "" : ", and so is docker's context " + context) << '\n';
  co_return 0;
}

asio::awaitable<int> rename(const Invocation& call) {
  const ProfilePaths from = profile_paths(call.home, call.word("PROFILE")),
                     to = profile_paths(call.home, call.word("NAME"));
  require_profile(from);
  auto lock = FileLock::try_acquire(from.lock);
  const Observed seen = observe(from);
  if (!lock || seen.machine_alive || seen.state.phase != "stopped")
    throw Error(Errc::busy, "profile '" + from.name + "' is not stopped, so it cannot be renamed",
                "colima-like stop " + from.name);
  if (file_exists(to.directory))
    throw Error(Errc::invalid_config, "'" + to.name + "' is taken: " + to.directory.string() + " exists",
                "choose another name");
  if (auto state = load_state(from); state && !state->context.empty()) {
    std::string failure;
    try {
      co_await cl::remove_context(from);
    } catch (const Error& error) {
      failure = one_line(error);
    }
    if (!failure.empty()) print_note("the docker context of the old name stays: " + failure);
    state->context.clear();
    state->previous_context.clear();
    save_state(*lock, from, *state);
  }
  rename_file(from.directory, to.directory);
  sync_directory(call.home.profiles);
  const CurrentProfile current = current_profile(call.home);
  forget_current(call.home, from.name);
  if (current.name == from.name) make_current(call.home, to.name);
  std::cout << "profile '" << from.name << "' is now '" << to.name << "'\n";
  co_return 0;
}

/// What becomes of a Colima setting.
int import_colima(const Invocation& call) {
  std::string name = call.word("NAME");
  if (name.empty()) name = call.profile;
  const ProfilePaths paths = profile_paths(call.home, name);
  if (file_exists(paths.config))
    throw Error(Errc::invalid_config, "there is a profile '" + name + "' already",
                "choose another name: colima-like import --colima FILE NAME");
  const ColimaImport converted = convert_colima(read_file(call.colima), call.colima);
  std::string yaml = default_profile_yaml();
  for (const auto& [key, value] : converted.settings) yaml = set_in_file(yaml, *find_key(key), value, "the new file");
  std::vector<std::vector<std::string>> rows{{"COLIMA", "VALUE", "BECAME"}};
  for (const ColimaLine& line : converted.lines) rows.push_back({line.key, line.value, line.became});
  check_layers(paths, yaml, "the converted file");
  create_profile(paths);
  write_atomically(paths.config, yaml);
  print_table(rows);
  std::cout << "profile '" << name << "' is made of " << call.colima << "; its containers' data is not taken over\n";
  return 0;
}

}  // namespace

int run_use(const Invocation& call) { return run_async(use(call)); }
int run_rename(const Invocation& call) { return run_async(rename(call)); }

int run_clone(const Invocation& call) {
  const ProfilePaths from = profile_paths(call.home, call.word("PROFILE")),
                     to = profile_paths(call.home, call.word("NAME"));
  require_profile(from);
  cl::clone_profile(from, to);
  std::cout << "profile '" << to.name << "' has the settings and data of '" << from.name << "'\n";
  return 0;
}

int run_export(const Invocation& call) {
  const ProfilePaths from = profile_paths(call.home, call.profile);
  require_profile(from);
  const auto result = cl::export_profile(from, absolute_path(call.word("FILE")));
  const auto size = ByteSize::bytes(result.at("bytes").to_number<std::uint64_t>());
  const std::string settings = read_file_if_exists(from.config).value_or("");
  if (without_passwords(settings) != settings)
    print_note("the settings in it have a URL with a password: it is for nobody who must not know that");
  std::cout << "profile '" << from.name << "' is in " << call.word("FILE") << " (" << size.str() << ")\n";
  return 0;
}

int run_import(const Invocation& call) {
  if (!call.colima.empty()) {
    // Without an exported file the only word is the name.
    Invocation renamed = call;
    if (!call.word("FILE").empty()) renamed.words["NAME"] = call.word("FILE");
    return import_colima(renamed);
  }
  if (call.word("FILE").empty())
    throw Error(Errc::usage, "which file?", "colima-like import FILE [NAME], or import --colima FILE [NAME]");
  const auto result = cl::import_profile(call.home, call.word("NAME"), absolute_path(call.word("FILE")), call.trust);
  const std::string name(result.at("name").as_string());
  std::cout << "profile '" << name << "' is imported\n";
  std::vector<std::vector<std::string>> asked{{"IT ASKS FOR", "VALUE", call.trust ? "TAKEN OVER" : "NOT TAKEN OVER"}};
  for (const json::value& one : result.at("asks").as_array())
    asked.push_back({std::string(one.at("key").as_string()), std::string(one.at("value").as_string()), ""});
  if (asked.size() > 1) print_table(asked);
  if (!call.trust)
    print_note(
        "it shares no folder: 'colima-like share add FOLDER -p " + name + "'" +
        (asked.size() > 1 ? "; 'colima-like import --trust' takes all of this over from somebody you trust" : ""));
  try {
    load_layers(profile_paths(call.home, name), {}, {});
  } catch (const Error& error) {
    print_note("before it can start here: " + one_line(error));
  }
  return 0;
}

}  // namespace cl::cli
