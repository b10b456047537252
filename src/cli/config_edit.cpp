#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/cli/config.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"
#include "src/cli/terminal.hpp"

namespace cl::cli {
namespace {

/// $VISUAL, else $EDITOR, else vi: a shell line, as in git.
std::string editor() {
  for (const char* name : {"VISUAL", "EDITOR"})
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  return "vi";
}

/// An editor that wants a terminal waits for one for ever where there is none. Others are scripts, or have windows.
void refuse_without_terminal(const fs::path& file) {
  constexpr std::string_view in_terminals[] = {"vi", "vim", "nvim", "view", "nano", "pico",   "micro", "helix",
                                               "hx", "ed",  "joe",  "mg",   "ne",   "mcedit", "emacs", "less"};
  if (wants_terminal()) return;
  const std::string line = editor();
  const std::string program = line.substr(0, line.find(' '));
  const std::string_view name = std::string_view(program).substr(program.rfind('/') + 1);
  if (std::find(std::begin(in_terminals), std::end(in_terminals), name) == std::end(in_terminals)) return;
  throw Error(Errc::usage, "there is no terminal for the editor '" + program + "'",
              "'colima-like config set KEY VALUE' changes one setting; or change " + file.string() +
                  ", and 'colima-like config check'");
}

/// Runs the editor in our terminal until it ends.
asio::awaitable<int> run_editor(fs::path draft) {
  cl::Command command;
  command.argv = {"sh", "-c", editor() + " \"$1\"", "sh", draft.string()};
  command.input = STDIN_FILENO;
  command.output = STDOUT_FILENO;
  command.errors = STDERR_FILENO;
  Child child = Child::start(co_await asio::this_coro::executor, command);
  const ExitStatus status = co_await child.wait();
  if (!status.ok())
    throw Error(Errc::host_requirement, "the editor '" + editor() + "' ended with " + status.str(),
                "set VISUAL or EDITOR to one that works; nothing was changed");
  co_return 0;
}

bool asks_again() {
  if (::isatty(STDIN_FILENO) != 1) return false;
  std::cerr << "edit again? [Y/n] " << std::flush;
  std::string answer;
  return std::getline(std::cin, answer) && (answer.empty() || answer[0] == 'y' || answer[0] == 'Y');
}

int edit(const ConfigFile& config) {
  refuse_without_terminal(config.file);
  const std::string before = config.read();
  // Beside the file, so that it is private and the editor sees what kind of file it is.
  const fs::path draft = config.file.parent_path() / (".draft-" + std::to_string(::getpid()) + ".yaml");
  make_private_directory(config.is_template ? config.paths.user_template.parent_path() : config.paths.directory);
  write_atomically(draft, before);
  ::signal(SIGINT, SIG_IGN);  // Ctrl-C is for the editor
  const std::string kept = "what you wrote is in " + draft.string();
  for (;;) {
    try {
      run_async(run_editor(draft));
    } catch (const Error&) {
      if (read_file(draft) == before) remove_file(draft);
      throw;
    }
    const std::string after = read_file(draft);
    if (after == before) {
      remove_file(draft);
      print_note("nothing was changed");
      return 0;
    }
    try {
      config.check(after, draft.string());
    } catch (const Error& error) {
      print_error(error);
      if (asks_again()) continue;
      throw Error(Errc::invalid_config, "nothing was changed: the new file is not valid", kept);
    }
    const FileLock lock = config.lock();
    if (config.read() != before)
      throw Error(Errc::busy, config.file.string() + " was changed meanwhile by somebody else", kept);
    const Layered wanted = config.install(after);
    remove_file(draft);
    tell_what_to_do(config, wanted);
    return 0;
  }
}

}  // namespace

int run_config_edit(const Invocation& call) {
  const ConfigFile config = config_file(call);
  if (!config.is_template) require_profile(config.paths);
  return edit(config);
}

int run_template_edit(const Invocation& call) {
  Invocation for_template = call;
  for_template.user_template = true;
  return run_config_edit(for_template);
}

int run_template_show(const Invocation& call) {
  Invocation for_template = call;
  for_template.user_template = true;
  return run_config_show(for_template);
}

}  // namespace cl::cli
