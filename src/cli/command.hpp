#pragma once

#include <boost/json/object.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/paths.hpp"
#include "profiles/store.hpp"
#include "src/base/async.hpp"
#include "src/rpc/message.hpp"

namespace cl::cli {

/// A parsed command line: what a verb's function gets.
struct Invocation {
  Home home;
  std::string profile = "default";
  std::string profile_before_verb;   ///< as written before the verb; `profile` has it too by the time a verb runs
  Settings settings;                 ///< of `start`, by key name
  std::vector<std::string> shares;   ///< of `start`, beside the profile's own
  std::vector<std::string> command;  ///< of `ssh`
  std::map<std::string, std::string> words;  ///< arguments by the name that the verb's row gives them
  bool effective = false;
  bool user_template = false;
  bool install = false;
  bool uninstall = false;
  std::string colima;
  bool trust = false;
  std::string shell;
  bool remove = false;
  bool json = false;
  bool reverse = false;
  bool force = false;
  bool data = false;
  bool cold = false;
  bool new_data = false;
  bool sandbox = false;
  bool yes = false;
  bool follow = false;
  bool once = false;
  bool console = false;
  bool daemon = false;
  int lines = 50;

  /// An argument that the verb's row names; empty when it is optional and not given.
  std::string word(const std::string& name) const {
    const auto found = words.find(name);
    return found == words.end() ? std::string() : found->second;
  }
};

/// Options a verb may take; each is defined once, in table.cpp.
enum Option : unsigned {
  profile_option = 1U << 0U,
  profile_argument = 1U << 1U,
  settings_options = 1U << 2U,
  json_option = 1U << 3U,
  force_option = 1U << 4U,
  data_option = 1U << 5U,
  log_options = 1U << 6U,
  command_argument = 1U << 7U,
  image_options = 1U << 8U,
  effective_option = 1U << 9U,
  template_option = 1U << 10U,
  shell_option = 1U << 11U,
  colima_option = 1U << 12U,
  install_options = 1U << 13U,
  hidden_verb = 1U << 14U,  ///< not for people: left out of help and completion
  start_options = 1U << 15U,
  command_verbatim = 1U << 16U,  ///< everything that follows, options too
  remove_option = 1U << 17U,
  arch_option = 1U << 18U,
  once_option = 1U << 19U,
  reverse_option = 1U << 20U
};

/// One verb. Help, dispatch and "did you mean" read the same table.
struct Verb {
  std::string_view name;  ///< "start", or "image build" for a verb below a group
  std::string_view summary;
  unsigned options;
  int (*run)(const Invocation&);  ///< returns the process exit code; throws Error
  /// Words that follow, by what they are: KEY, VALUE, NAME (a new profile), PROFILE (an existing one), FILE, SHELL,
  /// IMAGE, SHARE, FORWARD, CONTAINER, SOURCE and DESTINATION (a file here, or one in a machine behind a colon).
  /// "[FILE]" may be left out.
  std::string_view arguments{};
  /// Command lines without "colima-like", one a line, for its help and docs/cli.md.
  std::string_view examples{};
};
std::span<const Verb> verbs();

/// Commands that are for one thing, under one heading of the help; the names are first words of verbs.
struct Topic {
  std::string_view title;
  std::string_view commands;  ///< with spaces between
};
std::span<const Topic> topics();

/// What can follow on a command line that so far is `words`; the last one is being typed and may be empty. A single
/// "/" asks for file names.
std::vector<std::string> completions(const Home& home, const std::vector<std::string>& words);
/// The manual page, in the language of man(7).
std::string manual_page();

/// Parses and runs a whole command line; prints errors. Returns the process exit code.
int run(int argc, char** argv);

// The verbs, one file each.
int run_start(const Invocation&);
int run_stop(const Invocation&);
int run_suspend(const Invocation&);
int run_restart(const Invocation&);
int run_status(const Invocation&);
int run_list(const Invocation&);
int run_delete(const Invocation&);
int run_ssh(const Invocation&);
int run_ports(const Invocation&);
int run_events(const Invocation&);
int run_top(const Invocation&);
int run_df(const Invocation&);
int run_cp(const Invocation&);
int run_debug(const Invocation&);
int run_share_add(const Invocation&);
int run_share_remove(const Invocation&);
int run_share_list(const Invocation&);
int run_forward_add(const Invocation&);
int run_forward_remove(const Invocation&);
int run_forward_list(const Invocation&);
int run_autostart_enable(const Invocation&);
int run_autostart_disable(const Invocation&);
int run_autostart_status(const Invocation&);
int run_autostart_end(const Invocation&);
int run_autostart_hold(const Invocation&);
int run_doctor(const Invocation&);
int run_logs(const Invocation&);
int run_version(const Invocation&);
int run_apply(const Invocation&);
int run_config_get(const Invocation&);
int run_config_set(const Invocation&);
int run_config_unset(const Invocation&);
int run_config_show(const Invocation&);
int run_config_edit(const Invocation&);
int run_config_check(const Invocation&);
int run_config_diff(const Invocation&);
int run_config_schema(const Invocation&);
int run_use(const Invocation&);
int run_clone(const Invocation&);
int run_rename(const Invocation&);
int run_template_show(const Invocation&);
int run_template_edit(const Invocation&);
int run_export(const Invocation&);
int run_import(const Invocation&);
int run_env(const Invocation&);
int run_ssh_config(const Invocation&);
int run_socket_link(const Invocation&);
int run_ssh_server(const Invocation&);
int run_ctr(const Invocation&);
int run_nerdctl(const Invocation&);
int run_completion(const Invocation&);
int run_complete(const Invocation&);
int run_manual(const Invocation&);
int run_help(const Invocation&);
int run_reference(const Invocation&);
int run_image_build(const Invocation&);
int run_image_pull(const Invocation&);
int run_image_list(const Invocation&);
int run_image_prune(const Invocation&);

}  // namespace cl::cli
