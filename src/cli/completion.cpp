#include <algorithm>
#include <boost/json.hpp>
#include <cctype>
#include <cstdlib>
#include <iostream>
#include <sstream>

#include "profiles/image_ref.hpp"
#include "profiles/keys.hpp"
#include "profiles/runtime.hpp"
#include "src/app/engine.hpp"
#include "src/base/version.hpp"
#include "src/cli/help.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/parser.hpp"
#include "src/cli/summary.hpp"

namespace cl::cli {
namespace {

// Each asks this very program, so that what is completed is what is understood. "/" alone asks for file names.
constexpr std::string_view bash_script = R"(_colima_like() {
  local IFS=$'\n'
  COMPREPLY=($("$1" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == / ]]; then
    COMPREPLY=($(compgen -f -- "$2"))
    compopt -o filenames 2>/dev/null
  fi
}
complete -F _colima_like colima-like
)";
constexpr std::string_view zsh_script = R"(#compdef colima-like
_colima_like() {
  local -a found
  found=("${(@f)$(${words[1]} complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ $#found -eq 1 && $found[1] == / ]]; then _files; else compadd -- ${found:#}; fi
}
if [[ $funcstack[1] == _colima-like ]]; then _colima_like "$@"; else compdef _colima_like colima-like; fi
)";
constexpr std::string_view fish_script = R"(function __colima_like_complete
  set -l words (commandline -opc)
  set -l now (commandline -ct)
  set -l found ($words[1] complete -- $words[2..-1] "$now" 2>/dev/null)
  if test "$found" = /
    __fish_complete_path "$now"
  else
    printf '%s\n' $found
  end
end
complete -c colima-like -f -a '(__colima_like_complete)'
)";

bool is_hidden(const CLI::App& app) { return app.get_group().empty(); }

/// What a key may be, or what its schema has as examples; none for others.
std::vector<std::string> choices(const Key* key) {
  std::vector<std::string> found;
  if (key == nullptr) return found;
  found.assign(key->words.begin(), key->words.end());
  if (!found.empty()) return found;
  const boost::json::value schema = boost::json::parse(key->schema);
  for (const char* word : {"enum", "examples"})
    if (const auto* listed = schema.as_object().if_contains(word))
      for (const auto& one : listed->as_array())
        if (one.is_string()) found.emplace_back(one.get_string());
  return found;
}

const Key* key_with_flag(const std::string& flag) {
  for (const Key& key : keys())
    if (!key.flag.empty() && key.flag == flag) return &key;
  return nullptr;
}

std::vector<std::string> key_names() {
  std::vector<std::string> names;
  for (const Key& key : keys()) names.emplace_back(key.name);
  return names;
}

/// First words of verbs, or the second words of those that begin with `first`.
std::vector<std::string> verbs_behind(const std::string& first) {
  std::vector<std::string> found;
  for (const Verb& verb : verbs()) {
    if ((verb.options & hidden_verb) != 0) continue;
    const std::string name(verb.name);
    const auto space = std::min(name.find(' '), name.size());
    if (first.empty() && (found.empty() || found.back() != name.substr(0, space)))
      found.push_back(name.substr(0, space));
    if (!first.empty() && name.substr(0, space) == first && space < name.size())
      found.push_back(name.substr(space + 1));
  }
  return found;
}

asio::awaitable<int> ask_for_names(fs::path socket, std::vector<std::string>& into) {
  constexpr auto patience = std::chrono::milliseconds(300);
  const auto names = co_await with_timeout(patience, "the engine's answer", container_names(std::move(socket)));
  into.clear();
  for (const auto& [id, name] : names) into.push_back(name);
  co_return 0;
}

/// Names of a running machine's containers. To ask a sleeping one would wake it: there they are what they were when
/// somebody last asked.
std::vector<std::string> running_containers(const Home& home, const std::string& profile) {
  std::vector<std::string> names;
  try {
    const ProfilePaths paths = profile_paths(home, profile);
    const fs::path kept = paths.run_directory / "containers";
    const Observed seen = observe(paths);
    if (seen.machine_alive && seen.state.phase == "running") {
      run_async(ask_for_names(host_socket(runtime_of(seen.state.profile), paths), names));
      std::string lines;
      for (const std::string& name : names) lines += name + "\n";
      write_atomically(kept, lines);
    } else {
      std::istringstream lines(read_file_if_exists(kept).value_or(""));
      for (std::string name; std::getline(lines, name);) names.push_back(name);
    }
  } catch (const std::exception&) {
    names.clear();  // nobody would read an error here
  }
  return names;
}

std::vector<std::string> known_forwards(const Home& home, const std::string& profile) {
  try {
    return forward_items(profile_paths(home, profile));
  } catch (const std::exception&) {
    return {};  // nobody would read an error here
  }
}

/// Values for an option or argument of this name; `before` is the word before it.
std::vector<std::string> values(const Home& home, const std::string& profile, const std::string& name,
                                const std::string& before) {
  if (name == "PROFILE" || name == "profile") return list_profiles(home);
  if (name == "KEY") return key_names();
  if (name == "VALUE") return choices(find_key(before));
  if (name == "FILE" || name == "SHARE" || name == "colima" || name == "SOURCE" || name == "DESTINATION" ||
      name == "share")
    return {"/"};
  if (name == "FORWARD" && before == "remove") return known_forwards(home, profile);
  if (name == "FORWARD") return {"/"};
  if (name == "CONTAINER") return running_containers(home, profile);
  if (name == "VERB" || name == "SUBVERB") return verbs_behind(name == "VERB" ? "" : before);
  if (name == "SHELL") return {"bash", "zsh", "fish"};
  if (name == "IMAGE") return {catalog_names.begin(), catalog_names.end()};
  if (name == "shell") return {"bash", "zsh", "fish", "powershell"};
  if (name == "set") {
    std::vector<std::string> names = key_names();
    for (std::string& one : names) one += "=";
    return names;
  }
  return choices(key_with_flag(name));
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '-') out += '\\';
    if (out.empty() && (c == '.' || c == '\'')) out += "\\&";
    out += c;
  }
  return out;
}

void describe_verb(std::string& page, const CLI::App& app, const Verb& verb) {
  const std::string name(verb.name);
  std::string usage = name;
  for (const CLI::Option* option : app.get_options())
    if (option->get_positional() && option->get_name(true, false) != "COMMAND")
      usage +=
          option->get_required() ? " " + option->get_name(true, false) : " [" + option->get_name(true, false) + "]";
  page += ".SS \"" + escaped(usage) + "\"\n" + escaped(app.get_description()) + ".\n";
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional() || option->get_name().find("help") != std::string::npos) continue;
    page += ".TP\n.B " + escaped(option->get_name(false, true));
    if (option->get_items_expected_max() > 0) page += " " + escaped(option->get_type_name());
    page += "\n" + escaped(option->get_description()) + "\n";
  }
  if (verb.examples.empty()) return;
  page += ".RS\n.nf\n";
  std::string_view rest = verb.examples;
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size());
    page += "colima\\-like " + escaped(rest.substr(0, end)) + "\n";
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  page += ".fi\n.RE\n";
}

}  // namespace

std::vector<std::string> completions(const Home& home, const std::vector<std::string>& words) {
  Invocation unused;
  const Verb* chosen = nullptr;
  CLI::App app;
  build_parser(app, unused, chosen);
  const CLI::App* at = &app;
  std::size_t positionals = 0;
  std::string before, value_of;
  const char* named = std::getenv("COLIMA_LIKE_PROFILE");
  std::string profile = named != nullptr && *named != '\0' ? named : current_profile(home).name;
  const std::string typed = words.empty() ? "" : words.back();
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (!value_of.empty()) {
      if (value_of == "profile") profile = word;
      value_of.clear();
    } else if (word.starts_with("-")) {
      const CLI::Option* option = at->get_option_no_throw(word);
      if (option != nullptr && option->get_items_expected_max() > 0)
        value_of = option->get_lnames().empty() ? option->get_name() : option->get_lnames().front();
    } else {
      const auto below = at->get_subcommands([&](const CLI::App* sub) { return sub->check_name(word); });
      if (!below.empty()) {
        at = below.front();
      } else {
        ++positionals;
      }
      before = word;
    }
  }
  std::vector<std::string> candidates;
  if (!value_of.empty()) {
    candidates = values(home, profile, value_of, before);
  } else if (typed.starts_with("-")) {
    for (const CLI::Option* option : at->get_options())
      for (const std::string& name : option->get_lnames()) candidates.push_back("--" + name);
  } else {
    for (const CLI::App* sub : at->get_subcommands([](const CLI::App* one) { return !is_hidden(*one); }))
      candidates.push_back(sub->get_name());
    std::size_t number = 0;
    for (const CLI::Option* option : at->get_options())
      if (option->get_positional() && number++ == positionals)
        candidates = values(home, profile, option->get_name(true, false), before);
  }
  if (candidates == std::vector<std::string>{"/"}) return candidates;
  std::erase_if(candidates, [&](const std::string& one) { return !one.starts_with(typed); });
  return candidates;
}

std::string manual_page() {
  Invocation unused;
  const Verb* chosen = nullptr;
  CLI::App app;
  build_parser(app, unused, chosen);
  std::string page =
      ".TH COLIMA\\-LIKE 1 \"\" \"colima\\-like " + std::string(program_version()) +
      "\" \"User Commands\"\n.SH NAME\ncolima\\-like \\- Docker in a Linux machine of its own\n.SH SYNOPSIS\n"
      ".B colima\\-like\n[\\-p profile]\n.I command\n[options]\n.SH COMMANDS\n";
  for (const Verb& verb : verbs()) {
    const CLI::App* at = &app;
    std::string name(verb.name);
    for (auto space = name.find(' '); space != std::string::npos; space = name.find(' ', space + 1))
      at = at->get_subcommand(name.substr(0, space));
    at = at->get_subcommand(name.substr(name.find(' ') == std::string::npos ? 0 : name.find(' ') + 1));
    if (!is_hidden(*at)) describe_verb(page, *at, verb);
  }
  page +=
      ".SH SETTINGS\nKeys of profile.yaml, each with what a change needs: live (colima\\-like apply), restart, or "
      "recreate (another machine). The environment sets them too, as COLIMA_LIKE_KEY.\n";
  const Profile defaults;
  for (const Key& key : keys())
    page += ".TP\n.B " + escaped(key.name) + "\n" + escaped(meaning_of(key)) + " (" +
            std::string(to_string(key.change)) + "; default: " + escaped(key.get(defaults)) + ")\n";
  page += ".SH EXIT STATUS\n";
  for (const ExitMeaning& one : exit_meanings())
    page += ".TP\n.B " + std::to_string(one.code) + "\n" + escaped(one.meaning) + "\n";
  page += ".SH FILES\n.TP\n.I ~/.colima\\-like/NAME/profile.yaml\nThe settings of a profile.\n";
  return page;
}

int run_completion(const Invocation& call) {
  const std::string shell = call.word("SHELL");
  if (shell == "bash")
    std::cout << bash_script;
  else if (shell == "zsh")
    std::cout << zsh_script;
  else if (shell == "fish")
    std::cout << fish_script;
  else
    throw Error(Errc::usage, "there is no completion for '" + shell + "'", "use bash, zsh or fish");
  return 0;
}

int run_complete(const Invocation& call) {
  for (const std::string& one : completions(call.home, call.command)) std::cout << one << '\n';
  return 0;
}

int run_manual(const Invocation&) {
  std::cout << manual_page();
  return 0;
}

}  // namespace cl::cli
