#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>

#include "profiles/keys.hpp"
#include "src/base/own_directory.hpp"
#include "src/base/version.hpp"
#include "src/cli/command.hpp"
#include "src/cli/habits.hpp"
#include "src/cli/help.hpp"
#include "src/cli/output.hpp"
#include "src/cli/parser.hpp"

namespace cl::cli {
namespace {

constexpr unsigned one_profile = profile_option | profile_argument;

constexpr std::array table{
    Verb{"start", "Boot the machine and make plain 'docker' use it", one_profile | settings_options | start_options,
         &run_start, "",
         "start\nstart work --cpus 4 --memory 8GiB --share ~/src\nstart big --host ssh://user@build1:2222\n"
         "start agent --sandbox --set network.egress=registry.npmjs.org:443"},
    Verb{"stop", "Power the machine off", one_profile | force_option, &run_stop, "", "stop\nstop work --force"},
    Verb{"restart", "Stop and start", one_profile | force_option, &run_restart, "", "restart\nrestart work"},
    Verb{"suspend", "Save the machine to disk; a start, or any use of Docker, resumes it", one_profile, &run_suspend,
         "", "suspend\nsuspend work"},
    Verb{"apply", "Make a running machine use its profile's changed settings", one_profile, &run_apply, "",
         "apply\napply work"},
    Verb{"delete", "Remove the machine; the containers' data stays unless --data",
         one_profile | force_option | data_option, &run_delete, "", "delete\ndelete work --force --data"},
    Verb{"status", "Show what a profile is doing; asks neither daemon nor guest", one_profile | json_option,
         &run_status, "", "status\nstatus work --json"},
    Verb{"list", "Show all profiles", json_option, &run_list, "", "list\nlist --json"},
    Verb{"ports", "Show the ports of this host that containers publish, or that forwards have",
         one_profile | json_option, &run_ports, "", "ports\nports work --json"},
    Verb{"events", "Tell what happens to a profile as it happens: states, ports, shares, forwards",
         one_profile | json_option, &run_events, "", "events\nevents work --json"},
    Verb{"top", "Show what the machine and its containers use, every two seconds",
         one_profile | json_option | once_option, &run_top, "", "top\ntop work --once --json"},
    Verb{"df", "Show what uses the machine's disks", one_profile | json_option, &run_df, "", "df\ndf work --json"},
    Verb{"logs", "Show the logs of the daemon or the machine's console", one_profile | log_options, &run_logs, "",
         "logs --follow\nlogs work --console --lines 200"},
    Verb{"doctor", "Look for what is wrong with this host and the profile; changes nothing", one_profile | json_option,
         &run_doctor, "", "doctor\ndoctor work --json"},
    Verb{"ssh", "Run a command, or a shell, in the machine", profile_option | command_argument, &run_ssh, "",
         "ssh\nssh -- journalctl -u docker"},
    Verb{"cp", "Copy a file or folder between this host and the machine; ':' is before a path there",
         profile_option | json_option, &run_cp, "SOURCE DESTINATION", "cp notes.txt :/root/\ncp work:/var/log ./logs"},
    Verb{"debug", "Run a shell with tools, or a command, in a container or an image that has none",
         profile_option | command_argument, &run_debug, "CONTAINER", "debug web\ndebug web -- netstat -tln"},
    Verb{"ctr", "Run containerd's ctr in the machine", profile_option | command_verbatim, &run_ctr, "",
         "ctr images list\nctr -n moby containers list"},
    Verb{"nerdctl", "Run nerdctl in the machine", profile_option | command_verbatim, &run_nerdctl, "",
         "nerdctl ps\nnerdctl run --rm debian uname -m"},
    Verb{"ssh-config", "Print what plain ssh needs to reach the machine", one_profile | install_options,
         &run_ssh_config, "", "ssh-config --install\nssh-config work"},
    Verb{"share add", "Share a folder with the machine: LOCATION[:MOUNT POINT][:ro][:TYPE][:owner=USER]",
         profile_option, &run_share_add, "SHARE", "share add /data\nshare add ~/notes:/notes:ro"},
    Verb{"share remove", "Share a folder no longer", profile_option, &run_share_remove, "SHARE",
         "share remove /data\nshare remove -p work ~/notes"},
    Verb{"share list", "Show the shared folders and how they get into the machine", one_profile | json_option,
         &run_share_list, "", "share list\nshare list work --json"},
    Verb{"forward add",
         "Lead a port or unix socket of this host to one in the machine, or with -R the other way: FROM:TO",
         profile_option | json_option | reverse_option, &run_forward_add, "FORWARD",
         "forward add 8080:80\nforward add -R /run/agent.sock:~/agent.sock"},
    Verb{"forward remove", "Close a forward and keep it no longer; where it listens is enough",
         profile_option | json_option | reverse_option, &run_forward_remove, "FORWARD",
         "forward remove 8080:80\nforward remove -R /run/agent.sock"},
    Verb{"forward list", "Show the forwards, and what they carry", one_profile | json_option, &run_forward_list, "",
         "forward list\nforward list work --json"},
    Verb{"autostart enable", "Start the profile when you log in, and suspend it when the session ends", one_profile,
         &run_autostart_enable, "", "autostart enable\nautostart enable work"},
    Verb{"autostart disable", "Start it by hand again; a running machine goes on", one_profile, &run_autostart_disable,
         "", "autostart disable\nautostart disable work"},
    Verb{"autostart status", "Show whether the profile starts by itself, and by what", one_profile | json_option,
         &run_autostart_status, "", "autostart status\nautostart status work --json"},
    Verb{"use", "Make a profile and its docker context current; '-' is the one before", 0, &run_use, "[PROFILE]",
         "use work\nuse -"},
    Verb{"env", "Print what makes a shell's docker and Testcontainers use the machine", one_profile | shell_option,
         &run_env, "", "env\nenv work --shell fish"},
    Verb{"socket-link", "Make /var/run/docker.sock lead to the profile, for programs that look nowhere else",
         one_profile | remove_option, &run_socket_link, "", "socket-link\nsocket-link --remove"},
    Verb{"config show", "Show the profile's file, or with --effective every value and its source",
         profile_option | json_option | effective_option | template_option, &run_config_show, "",
         "config show\nconfig show --effective --json"},
    Verb{"config get", "Show the value of a key", profile_option, &run_config_get, "KEY",
         "config get cpus\nconfig get vm.accel -p work"},
    Verb{"config set", "Change a key in the file; comments and order stay", profile_option | template_option,
         &run_config_set, "KEY VALUE", "config set cpus 4\nconfig set idle off --template"},
    Verb{"config unset", "Take a key out of the file", profile_option | template_option, &run_config_unset, "KEY",
         "config unset cpus\nconfig unset idle --template"},
    Verb{"config edit", "Open the file in $VISUAL or $EDITOR; only a valid one is taken",
         profile_option | template_option, &run_config_edit, "", "config edit\nconfig edit -p work"},
    Verb{"config check", "Check the profile's file, or another one", profile_option | template_option,
         &run_config_check, "[FILE]", "config check\nconfig check ~/profile.yaml"},
    Verb{"config diff", "Show what the machine has and the profile wants otherwise", profile_option | json_option,
         &run_config_diff, "", "config diff\nconfig diff -p work --json"},
    Verb{"config schema", "Print the JSON Schema of the file", 0, &run_config_schema, "",
         "config schema\nconfig schema > profile.schema.json"},
    Verb{"template show", "Show what new profiles start from", 0, &run_template_show, "", "template show"},
    Verb{"template edit", "Change what new profiles start from", 0, &run_template_edit, "", "template edit"},
    Verb{"clone", "Make a new profile with the settings and data of a stopped one", 0, &run_clone, "PROFILE NAME",
         "clone default test\nclone work work2"},
    Verb{"rename", "Give a stopped profile another name", 0, &run_rename, "PROFILE NAME", "rename work play"},
    Verb{"export", "Write a stopped profile with its data into one file", profile_option, &run_export, "FILE",
         "export ~/default.colima-like\nexport -p work /mnt/work.colima-like"},
    Verb{"import", "Make a profile of an exported file, or of Colima's settings", profile_option | colima_option,
         &run_import, "[FILE] [NAME]",
         "import ~/default.colima-like copy\nimport --colima ~/.colima/default/colima.yaml mine"},
    Verb{"image build", "Build the guest image, unless it is already there", image_options, &run_image_build, "",
         "image build\nimage build --image plain --arch arm64"},
    Verb{"image pull", "Download debian-13, ubuntu-24.04, or URL#sha512:HEX, unless it is already there", arch_option,
         &run_image_pull, "IMAGE", "image pull debian-13\nimage pull ubuntu-24.04 --arch arm64"},
    Verb{"image list", "Show the cached guest images", json_option, &run_image_list, "",
         "image list\nimage list --json"},
    Verb{"image prune", "Remove guest images that no profile uses", json_option, &run_image_prune, "", "image prune"},
    Verb{"completion", "Print the completion script of a shell", 0, &run_completion, "SHELL",
         "completion bash > ~/.local/share/bash-completion/completions/colima-like\ncompletion fish"},
    Verb{"help", "Show what a command does and takes", 0, &run_help, "[VERB] [SUBVERB]", "help start\nhelp config set"},
    Verb{"version", "Show the version", json_option, &run_version, "", "version\nversion --json"},
    Verb{"autostart-end", "End the machine with the session, by suspending it if that saves it",
         hidden_verb | one_profile, &run_autostart_end},
    Verb{"autostart-hold", "Start the profile and suspend it at the end, for launchd", hidden_verb | one_profile,
         &run_autostart_hold},
    Verb{"complete", "Answer a completion script", hidden_verb | command_argument, &run_complete},
    Verb{"manual", "Print the manual page", hidden_verb, &run_manual},
    Verb{"reference", "Print docs/cli.md", hidden_verb, &run_reference},
    Verb{"ssh-server", "Speak to an SSH server in the machine, on stdin and stdout", hidden_verb | profile_option,
         &run_ssh_server},
};

constexpr std::array groups{std::pair{"config", "Settings of a profile"},
                            std::pair{"template", "Settings that new profiles start from"},
                            std::pair{"share", "Folders of this computer in the machine"},
                            std::pair{"forward", "Ports and sockets between this computer and the machine"},
                            std::pair{"autostart", "Profiles that start by themselves"},
                            std::pair{"image", "Guest images"}};

constexpr std::array topics_of_help{Topic{"Start and stop", "start stop restart suspend apply delete autostart"},
                                    Topic{"See what goes on", "status list ports events top df logs doctor"},
                                    Topic{"Work in the machine", "ssh cp debug ctr nerdctl ssh-config share forward"},
                                    Topic{"Docker on this host", "use env socket-link"},
                                    Topic{"Settings and profiles", "config template clone rename export import"},
                                    Topic{"Guest images, and the rest", "image completion help version"}};

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
               [&into, name = std::string(key.name)](const std::string& text) {
                 into.settings[name] = value_as_ours(name, text);
               },
               meaning_of(key) + " (for this run)")
            ->type_name("VALUE");
  if ((options & settings_options) != 0)
    app.add_option_function<std::vector<std::string>>(
           "--set",
           [&into](const std::vector<std::string>& all) {
             for (const std::string& one : all) {
               const auto sign = one.find('=');
               const std::string name = one.substr(0, sign);
               into.settings[name] = sign == std::string::npos ? "" : value_as_ours(name, one.substr(sign + 1));
             }
           },
           "any key (for this run)")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false);
  if ((options & settings_options) != 0)
    app.add_option("--share", into.shares, "one more folder of this host, [:MOUNT POINT][:ro][:TYPE] (for this run)")
        ->type_name("LOCATION")
        ->allow_extra_args(false);
  if ((options & effective_option) != 0)
    app.add_flag("--effective", into.effective, "every value and where it is from");
  if ((options & template_option) != 0)
    app.add_flag("--template", into.user_template, "the template for new profiles, and no profile");
  if ((options & shell_option) != 0)
    app.add_option("--shell", into.shell, "bash, zsh, fish or powershell (default: $SHELL)")->type_name("NAME");
  if ((options & colima_option) != 0) {
    app.add_flag("--trust", into.trust, "take over all that an exported file asks for: folders, scripts, proxies ...");
    app.add_option("--colima", into.colima, "take the settings of a colima.yaml over")->type_name("FILE");
  }
  if ((options & install_options) != 0) {
    auto* install = app.add_flag("--install", into.install, "include it in ~/.ssh/config");
    app.add_flag("--uninstall", into.uninstall, "take it out again")->excludes(install);
  }
  if ((options & remove_option) != 0) app.add_flag("--remove", into.remove, "put back what was there before");
  if ((options & reverse_option) != 0)
    app.add_flag("-R,--reverse", into.reverse, "it listens in the machine, and this host answers");
  if ((options & json_option) != 0) app.add_flag("--json", into.json, "print JSON");
  if ((options & once_option) != 0) app.add_flag("--once", into.once, "show it once, and end");
  if ((options & force_option) != 0) app.add_flag("-f,--force", into.force, "do not wait for the guest");
  if ((options & start_options) != 0) {
    app.add_flag("--cold", into.cold, "boot, also when a suspended machine could be resumed");
    app.add_flag("--new-data", into.new_data, "begin with an empty data disk when the profile's is gone");
    app.add_flag("--yes", into.yes, "change on a host what has to be changed there, without a question");
    app.add_flag("--sandbox", into.sandbox, "for a new profile: share this folder alone, and reach nothing else");
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
             "--" + std::string(name),
             [&into, name](const std::string& text) { into.settings[name] = value_as_ours(name, text); },
             meaning_of(*find_key(name)))
          ->type_name("VALUE");
  if ((options & arch_option) != 0)
    app.add_option_function<std::string>(
           "--arch", [&into](const std::string& text) { into.settings["arch"] = value_as_ours("arch", text); },
           meaning_of(*find_key("arch")))
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
    app.footer(command.arguments.empty()
                   ? "Everything from the first word that is no option is the command; without one, a login shell."
                   : "Everything after the first word that is no option is the command; without one, a shell.");
  }
}

/// What a habit is called here, and what else is to be known.
std::string answer_to(const Habit& habit) {
  std::string text = habit.ours.empty() ? "" : "did you mean '" + std::string(habit.ours) + "'?";
  if (!habit.note.empty()) text += (text.empty() ? "" : " ") + std::string(habit.note) + ".";
  return text;
}

/// What is wrong with a word, and what was perhaps meant.
struct Misunderstood {
  std::string message;  ///< empty when every word is known
  std::string meant;    ///< a sentence; may be empty
};

std::string nearest_of(const std::string& before, const std::string& wrong, const std::vector<std::string>& known) {
  const std::vector<std::string_view> candidates(known.begin(), known.end());
  const std::string near = nearest(wrong, candidates);
  return near.empty() ? "" : "did you mean '" + before + near + "'?";
}

/// Other programs' words are looked up before the nearest of ours: `ps` is no mistyped `cp`.
Misunderstood unknown_verb(const CLI::App& at, bool top, const std::string& word) {
  const std::string before = top ? "" : at.get_name() + " ";
  Misunderstood result{"there is no command '" + before + word + "'", {}};
  if (const Habit* habit = top ? find_habit(foreign_verbs(), word) : nullptr) {
    result.meant = answer_to(*habit);
    return result;
  }
  std::vector<std::string> known;
  for (const CLI::App* sub : at.get_subcommands([](const CLI::App* one) { return !one->get_group().empty(); }))
    known.push_back(sub->get_name());
  result.meant = nearest_of(before, word, known);
  return result;
}

Misunderstood unknown_option(const CLI::App& at, const std::string& name) {
  Misunderstood result{"there is no option '" + name + "'", {}};
  if (const Habit* habit = find_habit(foreign_options(), name)) {
    const std::string_view option = habit->ours.substr(0, habit->ours.find(' '));
    const bool here = habit->ours.empty() || habit->ours.starts_with("colima-like ") ||
                      at.get_option_no_throw(std::string(option)) != nullptr;
    if (here) {
      result.meant = answer_to(*habit);
      return result;
    }
  }
  std::vector<std::string> known;
  for (const CLI::Option* option : at.get_options({})) known.push_back(option->get_name(false, false));
  result.meant = nearest_of("", name, known);
  return result;
}

/// Follows the words as far as they are known; `at` becomes the command that they lead to.
Misunderstood find_wrong_word(const CLI::App*& at, int argc, char** argv) {
  const CLI::App* top = at;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--") break;
    if (!word.starts_with("-") || word == "-") {
      const auto below = at->get_subcommands([](const CLI::App*) { return true; });
      if (below.empty()) continue;
      const auto same =
          std::find_if(below.begin(), below.end(), [&](const CLI::App* sub) { return sub->check_name(word); });
      if (same == below.end()) return unknown_verb(*at, at == top, word);
      at = *same;
      continue;
    }
    const std::string name = word.substr(0, word.find('='));
    const CLI::Option* option = at->get_option_no_throw(name);
    if (option == nullptr && name.size() > 2 && name[1] != '-') option = at->get_option_no_throw(name.substr(0, 2));
    if (option == nullptr) return unknown_option(*at, name);
    if (option->get_items_expected_max() > 0 && option->check_name(word)) ++i;  // its value
  }
  return {};
}

/// CLI11's message, or what word is none, with what was perhaps meant.
Error explain(const CLI::ParseError& error, const CLI::App& app, int argc, char** argv) {
  const CLI::App* at = &app;
  const Misunderstood wrong = find_wrong_word(at, argc, argv);
  std::string path;
  for (const CLI::App* one = at; one != nullptr && one != &app; one = one->get_parent())
    path = " " + one->get_name() + path;
  const std::string help = "'colima-like" + path + " --help'";
  return Error(Errc::usage, wrong.message.empty() ? error.what() : wrong.message,
               (wrong.meant.empty() ? "see " : wrong.meant + " See ") + help);
}

const Verb* verb_of(const CLI::App& app, const CLI::App* at) {
  std::string name = at->get_name();
  if (at->get_parent() != nullptr && at->get_parent() != &app) name = at->get_parent()->get_name() + " " + name;
  const auto row = std::find_if(table.begin(), table.end(), [&](const Verb& one) { return one.name == name; });
  return row == table.end() ? nullptr : &*row;
}

/// -h on any level; CLI11 throws it as a "success".
int print_help(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  std::cout << (at == &app ? overview(app) : help_of(app, *at, verb_of(app, at)));
  return 0;
}

/// A profile before the verb is the one that the verb means. One that names its profiles itself takes none there.
void take_profile_before_verb(const CLI::App& app, const Verb& chosen, const std::string& before, Invocation& call) {
  if (app.get_option("--profile")->empty()) return;
  if (chosen.arguments.find("PROFILE") != std::string_view::npos)
    throw Error(Errc::usage, "'" + std::string(chosen.name) + "' names its profiles itself, and takes no -p",
                "see 'colima-like " + std::string(chosen.name) + " --help'");
  for (const CLI::App* at = &app; at != nullptr;) {
    const auto parsed = at->get_subcommands();
    at = parsed.empty() ? nullptr : parsed.front();
    if (at == nullptr) break;
    for (const char* name : {"--profile", "PROFILE"}) {
      const CLI::Option* own = at->get_option_no_throw(name);
      if (own != nullptr && !own->empty() && call.profile != before)
        throw Error(Errc::usage, "two profiles are named: '" + before + "' and '" + call.profile + "'",
                    "name one of them");
    }
  }
  call.profile = before;
}

/// The words without the "--" between a verb that takes everything verbatim and what it takes, as Colima has it
/// (`nerdctl -- ps`); CLI11 would take what follows for arguments of ours.
std::vector<char*> without_dashes(int argc, char** argv) {
  std::vector<char*> words(argv, argv + argc);
  bool verbatim = false;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string_view text = words[i];
    if (text == "--") {
      if (verbatim) words.erase(words.begin() + static_cast<std::ptrdiff_t>(i));
      break;
    }
    if (text == "-p" || text == "--profile") {
      ++i;
    } else if (!text.starts_with("-")) {
      const auto row = std::find_if(table.begin(), table.end(), [text](const Verb& one) { return one.name == text; });
      if (verbatim || row == table.end() || (row->options & command_verbatim) == 0) break;
      verbatim = true;
    }
  }
  return words;
}

}  // namespace

std::span<const Verb> verbs() { return table; }
std::span<const Topic> topics() { return topics_of_help; }

void build_parser(CLI::App& app, Invocation& into, const Verb*& chosen) {
  app.description(
      "Docker on this computer in a Linux machine of its own: 'colima-like start', then plain 'docker run'.");
  app.name("colima-like");
  app.require_subcommand(1);
  app.set_version_flag("-v,-V,--version", "colima-like " + std::string(program_version()), "the version");
  app.add_option("-p,--profile", into.profile_before_verb, "profile (default: the current one)")->type_name("NAME");
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

int run_help(const Invocation& call) {
  Invocation unused;
  const Verb* none = nullptr;
  CLI::App app;
  build_parser(app, unused, none);
  const CLI::App* at = &app;
  for (const std::string& word : {call.word("VERB"), call.word("SUBVERB")}) {
    if (word.empty()) break;
    const auto below = at->get_subcommands([&](const CLI::App* sub) { return sub->check_name(word); });
    if (below.empty()) {
      const Misunderstood wrong = unknown_verb(*at, at == &app, word);
      throw Error(Errc::usage, wrong.message,
                  (wrong.meant.empty() ? "see " : wrong.meant + " See ") + "'colima-like help'");
    }
    at = below.front();
  }
  std::cout << (at == &app ? overview(app) : help_of(app, *at, verb_of(app, at)));
  return 0;
}

namespace {

/// These tell of the program alone; `doctor` says itself whose the directory is.
constexpr std::array<std::string_view, 6> without_home{"doctor",     "help",   "version",
                                                       "completion", "manual", "reference"};

}  // namespace

int run(int argc, char** argv) {
  Invocation invocation;
  CLI::App app;
  const Verb* chosen = nullptr;
  build_parser(app, invocation, chosen);
  try {
    if (argc < 2) return print_help(app);
    // -p or an argument goes over the environment, and that over the profile that was made current.
    const char* profile = std::getenv("COLIMA_LIKE_PROFILE");
    invocation.home = find_home();
    invocation.profile = profile != nullptr && *profile != '\0' ? profile : current_profile(invocation.home).name;
    std::vector<char*> words = without_dashes(argc, argv);
    app.parse(static_cast<int>(words.size()), words.data());
    if (std::find(without_home.begin(), without_home.end(), chosen->name) == without_home.end())
      require_own_directory(invocation.home.profiles);
    take_profile_before_verb(app, *chosen, invocation.profile_before_verb, invocation);
    return chosen->run(invocation);
  } catch (const CLI::CallForHelp&) {
    return print_help(app);
  } catch (const CLI::CallForVersion& version) {
    std::cout << version.what() << '\n';
    return 0;
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
