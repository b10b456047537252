#include "src/cli/help.hpp"

#include <algorithm>
#include <iostream>

#include "src/cli/parser.hpp"

namespace cl::cli {
namespace {

constexpr std::size_t columns = 80;

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> parts;
  for (std::size_t from = 0; from <= text.size() && !text.empty();) {
    const auto stop = std::min(text.find(at, from), text.size());
    parts.emplace_back(text.substr(from, stop - from));
    from = stop + 1;
  }
  return parts;
}

/// `text` behind `head`, which takes `width` columns; further lines stand under the text.
std::string in_columns(const std::string& head, std::size_t width, const std::string& text) {
  std::string out, line = head;
  const std::string margin(width, ' ');
  if (width > 0 && head.size() + 1 > width) {
    out = head + '\n';
    line = margin;
  } else {
    line.resize(width, ' ');
  }
  bool empty = true;
  for (const std::string& word : split(text, ' ')) {
    if (!empty && line.size() + 1 + word.size() > columns) {
      out += line + '\n';
      line = margin;
      empty = true;
    }
    line += (empty ? "" : " ") + word;
    empty = false;
  }
  return out + line + '\n';
}

bool is_hidden(const CLI::App& app) { return app.get_group().empty(); }

/// "config set", without the program's name.
std::string path_of(const CLI::App& top, const CLI::App& command) {
  std::string path = command.get_name();
  for (const CLI::App* above = command.get_parent(); above != nullptr && above != &top; above = above->get_parent())
    path = above->get_name() + " " + path;
  return path;
}

std::vector<const CLI::App*> below(const CLI::App& command) {
  return command.get_subcommands([](const CLI::App* sub) { return !is_hidden(*sub); });
}

std::string usage_of(const CLI::App& top, const CLI::App& command, const Verb* verb) {
  std::string usage = "colima-like " + path_of(top, command);
  if (verb == nullptr) return usage + " COMMAND";
  const auto options = command.get_options();
  for (const CLI::Option* option : options) {
    const std::string name = option->get_name(true, false);
    if (!option->get_positional() || name == "COMMAND") continue;
    usage += option->get_required() ? " " + name : " [" + name + "]";
  }
  const bool has_options =
      std::any_of(options.begin(), options.end(), [](const CLI::Option* one) { return !one->get_positional(); });
  if (has_options) usage += " [OPTIONS]";
  if ((verb->options & command_argument) != 0) usage += " [--] [COMMAND]";
  if ((verb->options & command_verbatim) != 0) usage += " [--] ARGUMENTS";
  return usage;
}

/// "-p, --profile NAME".
std::string head_of(const CLI::Option& option) {
  std::string head;
  for (const std::string& name : option.get_snames()) head += (head.empty() ? "-" : ", -") + name;
  for (const std::string& name : option.get_lnames()) head += (head.empty() ? "    --" : ", --") + name;
  if (option.get_items_expected_max() > 0) head += " " + option.get_type_name();
  return head;
}

std::vector<const CLI::Option*> options_of(const CLI::App& command) {
  return command.get_options([](const CLI::Option* one) { return !one->get_positional(); });
}

}  // namespace

std::span<const ExitMeaning> exit_meanings() {
  static constexpr ExitMeaning all[] = {{0, "done"},
                                        {2, "the command line, a name or a setting is wrong"},
                                        {3, "the profile is not running (a suspended one counts as running)"},
                                        {4, "the host lacks something: a program, memory, space, a right"},
                                        {5, "the guest failed: it did not boot, its SSH or Docker does not answer"},
                                        {6, "busy: somebody else is changing the same thing"},
                                        {130, "interrupted"},
                                        {1, "anything else; also that there is no such profile"}};
  return all;
}

std::string overview(const CLI::App& app) {
  std::string text = in_columns("", 0, app.get_description()) + "\nusage: colima-like [-p PROFILE] COMMAND [OPTIONS]\n";
  constexpr std::size_t width = 15;
  for (const Topic& topic : topics()) {
    text += "\n" + std::string(topic.title) + "\n";
    for (const std::string& name : split(topic.commands, ' ')) {
      const CLI::App* command = app.get_subcommand(name);
      std::string inner;
      for (const CLI::App* sub : below(*command)) inner += (inner.empty() ? "" : ", ") + sub->get_name();
      text += in_columns("  " + name, width, command->get_description() + (inner.empty() ? "" : ": " + inner));
    }
  }
  return text + "\n'colima-like help COMMAND' tells more of one.\n";
}

std::string help_of(const CLI::App& top, const CLI::App& command, const Verb* verb) {
  std::string text =
      in_columns("", 0, command.get_description() + ".") + "\n" + in_columns("usage:", 7, usage_of(top, command, verb));
  const auto commands = below(command);
  if (!commands.empty()) text += "\n";
  for (const CLI::App* sub : commands) text += in_columns("  " + sub->get_name(), 12, sub->get_description());
  constexpr std::size_t width = 27;
  text += "\n";
  for (const CLI::Option* option : options_of(command))
    text += in_columns("  " + head_of(*option), width, option->get_description());
  if (!command.get_footer().empty()) text += "\n" + in_columns("", 0, command.get_footer());
  if (verb != nullptr && !verb->examples.empty()) {
    text += "\nexamples:\n";
    for (const std::string& line : split(verb->examples, '\n')) text += "  colima-like " + line + "\n";
  }
  return text;
}

std::string reference() {
  Invocation unused;
  const Verb* chosen = nullptr;
  CLI::App app;
  build_parser(app, unused, chosen);
  std::string page =
      "# The command line\n\n"
      "<!-- Made by `colima-like reference > docs/cli.md` from src/cli/table.cpp, as help, manual page and completions "
      "are. -->\n\n"
      "`-p NAME`, before the command or after it, or a positional name, then `COLIMA_LIKE_PROFILE`, then the profile "
      "that `use` made current: that is the profile which a command means. Results go to stdout, progress and errors "
      "to stderr; `--json` prints valid JSON whatever the state.\n";
  for (const Topic& topic : topics()) {
    page += "\n## " + std::string(topic.title) + "\n";
    for (const std::string& name : split(topic.commands, ' '))
      for (const Verb& verb : verbs()) {
        if (verb.name.substr(0, verb.name.find(' ')) != name || (verb.options & hidden_verb) != 0) continue;
        const CLI::App* command = &app;
        for (const std::string& word : split(verb.name, ' ')) command = command->get_subcommand(word);
        page += "\n### " + std::string(verb.name) + "\n\n" + command->get_description() + ".\n\n```\n" +
                usage_of(app, *command, &verb) + "\n```\n\n";
        bool any = false;
        for (const CLI::Option* option : options_of(*command)) {
          if (option->get_name().find("help") != std::string::npos) continue;
          if (!any) page += "| option | meaning |\n|---|---|\n";
          any = true;
          std::string head = head_of(*option);
          head.erase(0, head.find_first_not_of(' '));
          page += "| `" + head + "` | " + option->get_description() + " |\n";
        }
        if (!command->get_footer().empty()) page += (any ? "\n" : "") + command->get_footer() + "\n";
        any = any || !command->get_footer().empty();
        if (!verb.examples.empty()) {
          page += any ? "\n```sh\n" : "```sh\n";
          for (const std::string& line : split(verb.examples, '\n')) page += "colima-like " + line + "\n";
          page += "```\n";
        }
      }
  }
  page += "\n## Exit codes\n\n| code | meaning |\n|---|---|\n";
  for (const ExitMeaning& one : exit_meanings())
    page += "| " + std::to_string(one.code) + " | " + std::string(one.meaning) + " |\n";
  return page;
}

int run_reference(const Invocation&) {
  std::cout << reference();
  return 0;
}

}  // namespace cl::cli
