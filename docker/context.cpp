#include "docker/context.hpp"

#include <algorithm>
#include <boost/json/parse.hpp>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/json.hpp"

namespace cl::docker {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

constexpr std::string_view our_name = "colima-like";
constexpr auto call_limit = 30s;  // 15 ms as a rule; a home directory on a sleeping disk or network takes longer

struct Context {
  std::string name, description, endpoint;
  bool current = false;
  bool usable = true;  ///< false: config.json names it, but it does not exist
};

struct Contexts {
  std::vector<Context> all;
  const Context* find(std::string_view name) const {
    const auto found = std::find_if(all.begin(), all.end(), [&](const Context& c) { return c.name == name; });
    return found == all.end() || !found->usable ? nullptr : &*found;
  }
  /// `default` when config.json names none or one that does not exist.
  std::string current() const {
    const auto found = std::find_if(all.begin(), all.end(), [](const Context& c) { return c.current && c.usable; });
    return found == all.end() ? "default" : found->name;
  }
};

std::string endpoint_of(const fs::path& socket) { return "unix://" + socket.string(); }

Error cli_failed(const std::vector<std::string>& argv, const Finished& finished) {
  std::string call = "docker";
  for (std::size_t i = 1; i < argv.size(); ++i) call += " " + argv[i];
  std::string words = last_lines(finished.errors, 3);
  std::replace(words.begin(), words.end(), '\n', ' ');
  if (words.empty()) words = finished.status.str();
  return Error(Errc::host_requirement, "'" + call + "' failed",
               "check the docker CLI's configuration, or set DOCKER_HOST instead of using a context")
      .because(words);
}

asio::awaitable<Finished> call(const Cli& cli, std::vector<std::string> arguments) {
  Command command;
  command.argv = std::move(arguments);
  command.argv.insert(command.argv.begin(), cli.program);
  command.environment = cli.environment;
  // These two override config.json's current context, which is what all of this is about. Empty is not unset:
  // docker 20.10 takes an empty DOCKER_CONTEXT as a name.
  for (const char* name : {"DOCKER_HOST", "DOCKER_CONTEXT"}) command.environment.emplace_back(name);
  Finished finished = co_await run(std::move(command), "", call_limit);
  co_return finished;
}

asio::awaitable<void> must_call(const Cli& cli, std::vector<std::string> arguments) {
  // `-c default`: docker 20.10 refuses every command while config.json names a context that does not exist.
  arguments.insert(arguments.begin(), {"-c", "default"});
  std::vector<std::string> shown = arguments;
  shown.insert(shown.begin(), cli.program);
  const Finished finished = co_await call(cli, std::move(arguments));
  if (!finished.status.ok()) throw cli_failed(shown, finished);
}

/// One JSON object per line: Name, Description, DockerEndpoint, Current, and since docker 23 Error.
Contexts parse_list(std::string_view output) {
  Contexts contexts;
  while (!output.empty()) {
    const auto end = output.find('\n');
    const std::string_view line = output.substr(0, end);
    output = end == std::string_view::npos ? std::string_view{} : output.substr(end + 1);
    if (line.empty()) continue;
    error_code ec;
    const json::value value = json::parse(line, ec);
    if (ec || !value.is_object()) throw Error(Errc::protocol, "'docker context ls' printed no JSON").because(line);
    const json::object& object = value.get_object();
    Context context{std::string(text_at(object, "Name")), std::string(text_at(object, "Description")),
                    std::string(text_at(object, "DockerEndpoint"))};
    const json::value* current = object.if_contains("Current");
    context.current = current != nullptr && current->is_bool() && current->get_bool();
    context.usable = text_at(object, "Error").empty();
    contexts.all.push_back(std::move(context));
  }
  return contexts;
}

asio::awaitable<Contexts> list(const Cli& cli) {
  const std::vector<std::string> arguments{"context", "ls", "--format", "{{json .}}"};
  Finished finished = co_await call(cli, arguments);
  if (!finished.status.ok() && finished.errors.find("is not found on the file system") != std::string::npos) {
    std::vector<std::string> again{"-c", "default"};  // docker 20.10, see must_call()
    again.insert(again.end(), arguments.begin(), arguments.end());
    finished = co_await call(cli, std::move(again));
  }
  if (!finished.status.ok()) {
    std::vector<std::string> shown = arguments;
    shown.insert(shown.begin(), cli.program);
    throw cli_failed(shown, finished);
  }
  // The CLI goes on with an empty configuration after this warning, and `context use` would then write that over the
  // user's file, logins and all. "Error loading" is docker 20.10's word, "Error parsing" docker 28's.
  for (const char* warning : {"WARNING: Error loading config file", "WARNING: Error parsing config file"})
    if (finished.errors.find(warning) != std::string::npos)
      throw Error(Errc::host_requirement, "the docker CLI cannot read its own configuration",
                  "correct that file, or set DOCKER_HOST instead of using a context")
          .because(last_lines(finished.errors, 1));
  co_return parse_list(finished.output);
}

bool is_ours(std::string_view name) {
  return name == our_name || (name.starts_with(our_name) && name.substr(our_name.size()).starts_with('-'));
}

/// Whether switching to it makes sense: it exists, and if it is one of ours, its engine is there.
bool worth_restoring(const Context* context) {
  if (context == nullptr) return false;
  constexpr std::string_view scheme = "unix://";
  if (!is_ours(context->name) || !context->endpoint.starts_with(scheme)) return true;
  std::error_code ignored;
  return fs::exists(context->endpoint.substr(scheme.size()), ignored);
}

/// The value of --docker. The CLI's flag parser (pflag's stringToString) takes a value with one `=` as it is, and one
/// with more as CSV, where a comma or a quote needs quoting.
std::string docker_field(const std::string& endpoint) {
  std::string field = "host=" + endpoint;
  if (endpoint.find('=') == std::string::npos) return field;
  std::string quoted = "\"";
  for (const char c : field) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

asio::awaitable<void> use(const Cli& cli, std::string name) {
  std::vector<std::string> arguments{"context", "use", std::move(name)};
  co_await must_call(cli, std::move(arguments));
}

}  // namespace

std::string context_name(std::string_view profile) {
  std::string name(our_name);
  if (profile != "default") name += "-" + std::string(profile);
  return name;
}

asio::awaitable<std::optional<Activated>> activate(Cli cli, std::string name, std::string description,
                                                   fs::path socket) {
  if (!find_program(cli.program)) co_return std::nullopt;
  const Contexts contexts = co_await list(cli);
  Activated activated{contexts.current()};
  const std::string endpoint = endpoint_of(socket);
  const Context* ours = contexts.find(name);
  if (ours == nullptr || ours->endpoint != endpoint || ours->description != description) {
    const char* verb = ours == nullptr ? "create" : "update";
    const std::string field = docker_field(endpoint);
    std::vector<std::string> arguments{"context", verb, "--description", description, "--docker", field, name};
    co_await must_call(cli, std::move(arguments));
    activated.changed = true;
  }
  if (activated.previous != name) {
    co_await use(cli, name);
    activated.changed = true;
  }
  co_return activated;
}

asio::awaitable<std::optional<std::string>> current(Cli cli) {
  if (!find_program(cli.program)) co_return std::nullopt;
  const Contexts contexts = co_await list(cli);
  co_return contexts.current();
}

asio::awaitable<bool> restore(Cli cli, std::string name, std::string previous) {
  if (!find_program(cli.program)) co_return false;
  const Contexts contexts = co_await list(cli);
  if (contexts.current() != name) co_return false;
  if (previous == name || !worth_restoring(contexts.find(previous))) previous = "default";
  co_await use(cli, previous);
  co_return true;
}

asio::awaitable<bool> remove(Cli cli, std::string name) {
  if (!find_program(cli.program)) co_return false;
  const Contexts contexts = co_await list(cli);
  if (contexts.find(name) == nullptr) co_return false;
  if (contexts.current() == name) co_await use(cli, "default");
  std::vector<std::string> arguments{"context", "rm", name};
  co_await must_call(cli, std::move(arguments));
  co_return true;
}

std::optional<std::string> hidden_by(const std::vector<std::string>& environment, std::string_view name,
                                     const fs::path& socket) {
  auto value_of = [&](std::string_view variable) -> std::string_view {
    for (const std::string& entry : environment) {
      const std::string_view view(entry);
      if (view.size() > variable.size() && view.starts_with(variable) && view[variable.size()] == '=')
        return view.substr(variable.size() + 1);
    }
    return {};
  };
  auto line = [&](std::string_view variable, std::string_view value) {
    return std::string(variable) + "=" + std::string(value) + " is set, so docker does not use the context " +
           std::string(name) + "; 'unset " + std::string(variable) + "' to use it";
  };
  if (const auto host = value_of("DOCKER_HOST"); !host.empty()) {
    if (host == endpoint_of(socket)) return std::nullopt;
    return line("DOCKER_HOST", host);
  }
  if (const auto context = value_of("DOCKER_CONTEXT"); !context.empty() && context != name)
    return line("DOCKER_CONTEXT", context);
  return std::nullopt;
}

}  // namespace cl::docker
