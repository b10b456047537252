#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>

#include "profiles/keys.hpp"
#include "src/cli/command.hpp"
#include "src/cli/output.hpp"
#include "src/cli/parser.hpp"

namespace cl::cli {
namespace {

constexpr unsigned one_profile = profile_option | profile_argument;

constexpr std::array table{
    Verb{"start", "Boot the machine and make plain 'docker' use it", one_profile | settings_options | start_options,
         &run_start},
    Verb{"suspend", "Save the machine to disk; a start, or any use of Docker, resumes it", one_profile, &run_suspend},
    Verb{"apply", "Make a running machine use its profile's changed settings", one_profile, &run_apply},
    Verb{"stop", "Power the machine off", one_profile | force_option, &run_stop},
    Verb{"restart", "Stop and start", one_profile | force_option, &run_restart},
    Verb{"status", "Show what a profile is doing; asks neither daemon nor guest", one_profile | json_option,
         &run_status},
    Verb{"list", "Show all profiles", json_option, &run_list},
    Verb{"use", "Make a profile and its docker context current; '-' is the one before", 0, &run_use, "[PROFILE]"},
    Verb{"config show", "Show the profile's file, or with --effective every value and its source",
         profile_option | json_option | effective_option | template_option, &run_config_show},
    Verb{"config get", "Show the value of a key", profile_option, &run_config_get, "KEY"},
    Verb{"config set", "Change a key in the file; comments and order stay", profile_option | template_option,
         &run_config_set, "KEY VALUE"},
    Verb{"config unset", "Take a key out of the file", profile_option | template_option, &run_config_unset, "KEY"},
    Verb{"config edit", "Open the file in $VISUAL or $EDITOR; only a valid one is taken",
         profile_option | template_option, &run_config_edit},
    Verb{"config check", "Check the profile's file, or another one", profile_option | template_option,
         &run_config_check, "[FILE]"},
    Verb{"config diff", "Show what the machine has and the profile wants otherwise", profile_option | json_option,
         &run_config_diff},
    Verb{"config schema", "Print the JSON Schema of the file", 0, &run_config_schema},
    Verb{"template show", "Show what new profiles start from", 0, &run_template_show},
    Verb{"template edit", "Change what new profiles start from", 0, &run_template_edit},
    Verb{"clone", "Make a new profile with the settings and data of a stopped one", 0, &run_clone, "PROFILE NAME"},
    Verb{"rename", "Give a stopped profile another name", 0, &run_rename, "PROFILE NAME"},
    Verb{"export", "Write a stopped profile with its data into one file", profile_option, &run_export, "FILE"},
    Verb{"import", "Make a profile of an exported file, or of Colima's settings", profile_option | colima_option,
         &run_import, "[FILE] [NAME]"},
    Verb{"delete", "Remove the machine; the containers' data stays unless --data",
         one_profile | force_option | data_option, &run_delete},
    Verb{"ssh", "Run a command, or a shell, in the machine", profile_option | command_argument, &run_ssh},
    Verb{"ctr", "Run containerd's ctr in the machine", profile_option | command_verbatim, &run_ctr},
    Verb{"nerdctl", "Run nerdctl in the machine", profile_option | command_verbatim, &run_nerdctl},
    Verb{"ssh-config", "Print what plain ssh needs to reach the machine", one_profile | install_options,
         &run_ssh_config},
    Verb{"env", "Print what makes a shell's docker and Testcontainers use the machine", one_profile | shell_option,
         &run_env},
    Verb{"socket-link", "Make /var/run/docker.sock lead to the profile, for programs that look nowhere else",
         one_profile | remove_option, &run_socket_link},
    Verb{"ports", "Show the ports that containers publish on this host", one_profile | json_option, &run_ports},
    Verb{"share add", "Share a folder with the machine: LOCATION[:MOUNT POINT][:ro][:TYPE]", profile_option,
         &run_share_add, "SHARE"},
    Verb{"share remove", "Share a folder no longer", profile_option, &run_share_remove, "SHARE"},
    Verb{"share list", "Show the shared folders and how they get into the machine", one_profile | json_option,
         &run_share_list},
    Verb{"doctor", "Look for what is wrong with this host and the profile; changes nothing", one_profile | json_option,
         &run_doctor},
    Verb{"logs", "Show the logs of the daemon or the machine's console", one_profile | log_options, &run_logs},
    Verb{"version", "Show the version", json_option, &run_version},
    Verb{"image build", "Build the guest image, unless it is already there", image_options, &run_image_build},
    Verb{"image pull", "Download debian-13, ubuntu-24.04, or URL#sha512:HEX, unless it is already there", arch_option,
         &run_image_pull, "IMAGE"},
    Verb{"image list", "Show the cached guest images", json_option, &run_image_list},
    Verb{"image prune", "Remove guest images that no profile uses", json_option, &run_image_prune},
    Verb{"completion", "Print the completion script of a shell", 0, &run_completion, "SHELL"},
    Verb{"complete", "Answer a completion script", hidden_verb | command_argument, &run_complete},
    Verb{"manual", "Print the manual page", hidden_verb, &run_manual},
    Verb{"ssh-server", "Speak to an SSH server in the machine, on stdin and stdout", hidden_verb | profile_option,
         &run_ssh_server},
};

constexpr std::array groups{
    std::pair{"config", "Settings of a profile"}, std::pair{"template", "Settings that new profiles start from"},
    std::pair{"share", "Folders of this computer in the machine"}, std::pair{"image", "Guest images"}};

/// Adds the options that a row asks for; they write into `into`.
void define(CLI::App& app, const Verb& command, Invocation& into) {
  const unsigned options = command.options;
  if ((options & profile_option) != 0) {
    auto* flag = app.add_option("-p,--profile", into.profile, "profile (default: the current one)")->type_name("NAME");
    if ((options & profile_argument) != 0)
      app.add_option("PROFILE", into.profile, "the same")->type_name("")->excludes(flag);
  }
  if ((options & settings_options) != 0)
    for (const Key& key : keys())
      if (!key.flag.empty())
        app.add_option_function<std::string>(
               "--" + std::string(key.flag),
               [&into, name = std::string(key.name)](const std::string& text) { into.settings[name] = text; },
               meaning_of(key) + " (for this run)")
            ->type_name("VALUE");
  if ((options & settings_options) != 0)
    app.add_option_function<std::vector<std::string>>(
           "--set",
           [&into](const std::vector<std::string>& all) {
             for (const std::string& one : all) {
               const auto sign = one.find('=');
               into.settings[one.substr(0, sign)] = sign == std::string::npos ? "" : one.substr(sign + 1);
             }
           },
           "any key (for this run)")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false);
  if ((options & effective_option) != 0)
    app.add_flag("--effective", into.effective, "every value and where it is from");
  if ((options & template_option) != 0)
    app.add_flag("--template", into.user_template, "the template for new profiles, and no profile");
  if ((options & shell_option) != 0)
    app.add_option("--shell", into.shell, "bash, zsh, fish or powershell (default: $SHELL)")->type_name("NAME");
  if ((options & colima_option) != 0)
    app.add_option("--colima", into.colima, "take the settings of a colima.yaml over")->type_name("FILE");
  if ((options & install_options) != 0) {
    auto* install = app.add_flag("--install", into.install, "include it in ~/.ssh/config");
    app.add_flag("--uninstall", into.uninstall, "take it out again")->excludes(install);
  }
  if ((options & remove_option) != 0) app.add_flag("--remove", into.remove, "put back what was there before");
  if ((options & json_option) != 0) app.add_flag("--json", into.json, "print JSON");
  if ((options & force_option) != 0) app.add_flag("-f,--force", into.force, "do not wait for the guest");
  if ((options & start_options) != 0) {
    app.add_flag("--cold", into.cold, "boot, also when a suspended machine could be resumed");
    app.add_flag("--new-data", into.new_data, "begin with an empty data disk when the profile's is gone");
  }
  if ((options & data_option) != 0) app.add_flag("--data", into.data, "also remove containers, images and volumes");
  if ((options & log_options) != 0) {
    auto* console = app.add_flag("--console", into.console, "the machine's serial console");
    app.add_flag("--daemon", into.daemon, "the daemon's log (the default)")->excludes(console);
    app.add_flag("-f,--follow", into.follow, "go on until interrupted");
    app.add_option("-n,--lines", into.lines, "how many lines (default: 50)")->check(CLI::NonNegativeNumber);
  }
  if ((options & image_options) != 0)
    for (const char* name : {"image", "arch"})
      app.add_option_function<std::string>(
             "--" + std::string(name), [&into, name](const std::string& text) { into.settings[name] = text; },
             meaning_of(*find_key(name)))
          ->type_name("VALUE");
  if ((options & arch_option) != 0)
    app.add_option_function<std::string>(
           "--arch", [&into](const std::string& text) { into.settings["arch"] = text; }, meaning_of(*find_key("arch")))
        ->type_name("VALUE");
  for (std::string_view rest = command.arguments; !rest.empty();) {
    const auto space = std::min(rest.find(' '), rest.size());
    std::string name(rest.substr(0, space));
    rest.remove_prefix(std::min(space + 1, rest.size()));
    const bool required = !name.starts_with('[');
    if (!required) name = name.substr(1, name.size() - 2);
    app.add_option_function<std::string>(name, [&into, name](const std::string& word) { into.words[name] = word; })
        ->type_name("")
        ->required(required);
  }
  if ((options & hidden_verb) != 0) app.group("");
  if ((options & command_verbatim) != 0) app.prefix_command();
  if ((options & command_argument) != 0) {
    app.add_option("COMMAND", into.command)->type_name("");
    app.positionals_at_end();
    app.footer("Everything from the first word that is no option is the command; without one, a login shell.");
  }
}

/// CLI11's message, with the nearest word that would have been understood.
Error explain(const CLI::ParseError& error, CLI::App& app, int argc, char** argv) {
  std::string message = error.what();
  std::vector<std::string_view> words;
  for (int i = 1; i < argc; ++i) words.emplace_back(argv[i]);
  std::vector<std::string> known;
  std::string wrong;
  CLI::App* at = &app;
  for (const std::string_view word : words) {
    if (!word.starts_with("-")) {
      const auto below = at->get_subcommands([](CLI::App*) { return true; });
      if (below.empty()) continue;
      const auto same =
          std::find_if(below.begin(), below.end(), [&](CLI::App* sub) { return sub->check_name(std::string(word)); });
      if (same != below.end()) {
        at = *same;
        continue;
      }
      wrong = word;
      for (CLI::App* sub : below) known.push_back(sub->get_name());
      message = "there is no command '" + wrong + "'";
      break;
    }
    const std::string name(word.substr(0, word.find('=')));
    if (at->get_option_no_throw(name) != nullptr || name == "--") continue;
    wrong = name;
    for (const CLI::Option* option : at->get_options({})) known.push_back(option->get_name(false, false));
    message = "there is no option '" + wrong + "'";
    break;
  }
  const std::vector<std::string_view> candidates(known.begin(), known.end());
  const std::string near = wrong.empty() ? "" : nearest(wrong, candidates);
  const std::string help = "'colima-like" + (at == &app ? "" : " " + at->get_name()) + " --help'";
  return Error(Errc::usage, message, near.empty() ? "see " + help : "did you mean '" + near + "'? See " + help);
}

/// -h on any level; CLI11 throws it as a "success".
int print_help(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  std::cout << at->help();
  return 0;
}

}  // namespace

std::span<const Verb> verbs() { return table; }

void build_parser(CLI::App& app, Invocation& into, const Verb*& chosen) {
  app.description(
      "Docker on this computer in a Linux machine of its own: 'colima-like start', then plain 'docker run'.");
  app.name("colima-like");
  app.require_subcommand(1);
  for (const auto& [name, summary] : groups) app.add_subcommand(name, summary)->require_subcommand(1);
  for (const Verb& command : table) {
    std::string_view name = command.name;
    CLI::App* parent = &app;
    if (const auto space = name.find(' '); space != std::string_view::npos) {
      parent = app.get_subcommand(std::string(name.substr(0, space)));
      name.remove_prefix(space + 1);
    }
    CLI::App* sub = parent->add_subcommand(std::string(name), std::string(command.summary));
    define(*sub, command, into);
    sub->callback([&chosen, &command, &into, sub] {
      chosen = &command;
      if ((command.options & command_verbatim) != 0) into.command = sub->remaining();
    });
  }
}

int run(int argc, char** argv) {
  Invocation invocation;
  CLI::App app;
  const Verb* chosen = nullptr;
  build_parser(app, invocation, chosen);
  try {
    // -p or an argument goes over the environment, and that over the profile that was made current.
    const char* profile = std::getenv("COLIMA_LIKE_PROFILE");
    invocation.home = find_home();
    invocation.profile = profile != nullptr && *profile != '\0' ? profile : current_profile(invocation.home).name;
    app.parse(argc, argv);
    return chosen->run(invocation);
  } catch (const CLI::CallForHelp&) {
    return print_help(app);
  } catch (const CLI::ParseError& error) {
    const Error explained = explain(error, app, argc, argv);
    print_error(explained);
    return exit_code(explained.code());
  } catch (const Error& error) {
    print_error(error);
    return exit_code(error.code());
  } catch (const std::exception& error) {
    print_error(Error(Errc::internal, error.what(), "this is a bug in colima-like; please report it"));
    return exit_code(Errc::internal);
  }
}

}  // namespace cl::cli
