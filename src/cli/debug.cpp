#include <cstdlib>

#include "profiles/runtime.hpp"
#include "src/app/engine.hpp"
#include "src/base/shell.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/remote.hpp"

// `debug`: the guest's busybox, which is static, in the namespaces of a container, or beside an image's files. Neither
// needs a shell of its own, and nothing is written into either. The engine is asked from here: its command line in the
// guest takes a second to begin on an emulated CPU.

namespace cl::cli {
namespace {

constexpr const char* needs_busybox =
    "box=$(command -v busybox) || { echo 'error: busybox is not in the machine' >&2; echo '  try: colima-like ssh -- "
    "apt-get install -y busybox-static' >&2; exit 127; }; ";

std::string environment(const std::string& name) {
  return "TERM=\"${TERM:-dumb}\" PS1=" + shell_quoted("debug " + name + ":\\w\\$ ");
}

std::string joined_words(const std::vector<std::string>& command) {
  std::string words;
  for (const std::string& word : command) words += " " + shell_quoted(word);
  return words.empty() ? " sh" : words;
}

/// busybox joins the container's namespaces and goes on as one of its own applets, by /proc/self/exe: in the
/// container's mounts no path leads to it. Its shell takes applets before the container's programs in the same way.
std::string in_container(const std::string& name, std::int64_t pid, const std::vector<std::string>& command) {
  return std::string(needs_busybox) +
         "exec env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin " +
         environment(name) + " \"$box\" nsenter -t " + std::to_string(pid) + " -m -u -i -n -p" + joined_words(command);
}

/// A container of its own that is gone afterwards. The name of the program begins with "busybox", by which it knows
/// itself.
std::string beside_image(const std::string& name, const std::string& engine, const std::vector<std::string>& command) {
  return std::string(needs_busybox) + "flags=-i; if [ -t 0 ]; then flags=-it; fi; exec " + engine +
         " run --rm $flags --network none --user 0 -e TERM=\"${TERM:-dumb}\" -e PS1=" +
         shell_quoted("debug " + name + ":\\w\\$ ") + " -v \"$box:/busybox-of-colima-like:ro\" --entrypoint " +
         "/busybox-of-colima-like " + shell_quoted(name) + joined_words(command);
}

asio::awaitable<int> find(std::filesystem::path socket, std::string name, Named& into) {
  into = co_await look_up(std::move(socket), std::move(name));
  co_return 0;
}

}  // namespace

int run_debug(const Invocation& call) {
  const ProfilePaths paths = reachable(call.home, call.profile);
  const Runtime& runtime = runtime_of(observe(paths).state.profile);
  if (!runtime.speaks_docker)
    throw Error(Errc::usage,
                "debug takes containers of docker or podman, and the runtime is " + std::string(runtime.name),
                "colima-like ssh");
  const std::string name = call.word("CONTAINER");
  std::vector<std::string> command = call.command;
  if (!command.empty() && command.front() == "--") command.erase(command.begin());
  Named found;
  run_async(find(host_socket(runtime, paths), name, found));
  switch (found.kind) {
    case Named::Kind::running_container: return run_in_terminal(call, in_container(name, found.pid, command));
    case Named::Kind::image: return run_in_terminal(call, beside_image(name, std::string(runtime.name), command));
    case Named::Kind::stopped_container:
      throw Error(Errc::not_running, "the container " + name + " does not run",
                  "docker start " + name + ", or 'colima-like debug' with its image");
    case Named::Kind::nothing: break;
  }
  throw Error(Errc::not_found, "there is neither a container nor an image " + name + " in the machine",
              "'docker ps' and 'docker images' list them; docker pull " + name);
}

}  // namespace cl::cli
