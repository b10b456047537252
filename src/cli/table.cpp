#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>

#include "profiles/keys.hpp"
#include "src/cli/command.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

constexpr unsigned one_profile = profile_option | profile_argument;

constexpr std::array table{
    Verb{"start", "Boot the machine and make plain 'docker' use it", one_profile | settings_options, &run_start},
    Verb{"stop", "Power the machine off", one_profile | force_option, &run_stop},
    Verb{"restart", "Stop and start", one_profile | force_option, &run_restart},
    Verb{"status", "Show what a profile is doing; asks neither daemon nor guest", one_profile | json_option,
         &run_status},
    Verb{"list", "Show all profiles", json_option, &run_list},
    Verb{"delete", "Remove the machine; the containers' data stays unless --data",
         one_profile | force_option | data_option, &run_delete},
    Verb{"ssh", "Run a command, or a shell, in the machine", profile_option | command_argument, &run_ssh},
    Verb{"logs", "Show the logs of the daemon or the machine's console", one_profile | log_options, &run_logs},
    Verb{"version", "Show the version", json_option, &run_version},
    Verb{"image build", "Build the guest image, unless it is already there", image_options, &run_image_build},
    Verb{"image list", "Show the cached guest images", json_option, &run_image_list},
    Verb{"image prune", "Remove guest images that no profile uses", json_option, &run_image_prune},
};

constexpr std::array groups{std::pair{"image", "Guest images"}};

/// Adds the options that a row asks for; they write into `into`.
void define(CLI::App& app, const Verb& command, Invocation& into) {
  const unsigned options = command.options;
  if ((options & profile_option) != 0) {
    auto* flag = app.add_option("-p,--profile", into.profile, "profile (default: default)")->type_name("NAME");
    if ((options & profile_argument) != 0)
      app.add_option("PROFILE", into.profile, "the same")->type_name("")->excludes(flag);
  }
  if ((options & settings_options) != 0)
    for (const Key& key : keys())
      app.add_option_function<std::string>(
             "--" + std::string(key.flag),
             [&into, name = std::string(key.name)](const std::string& text) { into.settings[name] = text; },
             std::string(key.meaning) + " (for this run)")
          ->type_name("VALUE");
  if ((options & json_option) != 0) app.add_flag("--json", into.json, "print JSON");
  if ((options & force_option) != 0) app.add_flag("-f,--force", into.force, "do not wait for the guest");
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
             std::string(find_key(name)->meaning))
          ->type_name("VALUE");
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

int run(int argc, char** argv, Backend& backend) {
  Invocation invocation;
  invocation.backend = &backend;
  if (const char* profile = std::getenv("COLIMA_LIKE_PROFILE"); profile != nullptr && *profile != '\0')
    invocation.profile = profile;

  CLI::App app("Docker on this computer in a Linux machine of its own: 'colima-like start', then plain 'docker run'.");
  app.name("colima-like");
  app.require_subcommand(1);
  for (const auto& [name, summary] : groups) app.add_subcommand(name, summary)->require_subcommand(1);
  const Verb* chosen = nullptr;
  for (const Verb& command : table) {
    std::string_view name = command.name;
    CLI::App* parent = &app;
    if (const auto space = name.find(' '); space != std::string_view::npos) {
      parent = app.get_subcommand(std::string(name.substr(0, space)));
      name.remove_prefix(space + 1);
    }
    CLI::App* sub = parent->add_subcommand(std::string(name), std::string(command.summary));
    define(*sub, command, invocation);
    sub->callback([&chosen, &command] { chosen = &command; });
  }

  try {
    app.parse(argc, argv);
    invocation.home = find_home();
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
