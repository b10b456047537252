#include "src/rpc/requests.hpp"

#include <boost/json/serialize.hpp>

#include "src/base/error.hpp"
#include "src/base/version.hpp"
#include "src/rpc/message.hpp"

namespace cl::rpc {
namespace {

/// What every request line has beside its arguments.
struct Envelope {
  std::string verb;
  std::string version;

  static constexpr auto fields() {
    return std::tuple(Field{"verb", &Envelope::verb, true}, Field{"version", &Envelope::version});
  }
};

/// "start, stop, ...".
template <class... R>
std::string list_verbs(const std::variant<R...>*) {
  std::string list;
  ((list += (list.empty() ? "" : ", ") + std::string(R::verb)), ...);
  return list;
}

Error unknown_verb(const Envelope& asked) {
  const std::string ours(program_version());
  const std::string what = "the daemon is of version " + ours + " and does not know '" + asked.verb + "'";
  if (asked.version == ours)
    return Error(Errc::protocol, what, "it knows " + list_verbs(static_cast<const Request*>(nullptr)));
  const std::string theirs = asked.version.empty() ? "without a version" : "of version " + asked.version;
  return Error(Errc::protocol, what + ", which a program " + theirs + " asks for",
               "'colima-like restart' starts a daemon of the program's version");
}

/// Reads the arguments as those of the one kind that has this verb.
template <class... R>
std::optional<Request> read_arguments(const Envelope& asked, const json::object& arguments,
                                      std::vector<std::string>& ignored, const std::variant<R...>*) {
  std::optional<Request> request;
  const auto try_kind = [&]<class Kind>(const Kind*) {
    if (asked.verb == Kind::verb) request = from_object<Kind>(arguments, &ignored);
  };
  (try_kind(static_cast<const R*>(nullptr)), ...);
  return request;
}

/// Missing arguments are none.
json::object arguments_of(const json::object& line) {
  const json::value* found = line.if_contains("arguments");
  if (found == nullptr) return {};
  if (!found->is_object()) throw FieldError("'arguments' must be an object, and is " + std::string(kind_of(*found)));
  return found->get_object();
}

}  // namespace

std::string_view verb_of(const Request& request) noexcept {
  return std::visit([]<class R>(const R&) { return R::verb; }, request);
}

std::string encode(const Request& request) {
  json::object line = to_object(Envelope{std::string(verb_of(request)), std::string(program_version())});
  line["arguments"] = std::visit([](const auto& one) { return to_object(one); }, request);
  std::string text = json::serialize(line);
  if (text.size() > max_line)
    throw Error(Errc::usage, "what '" + std::string(verb_of(request)) + "' is asked for is longer than a MiB",
                "put it into a file that the machine can read");
  return text;
}

Received decode_request(std::string_view line) {
  Envelope asked;
  try {
    const json::object object = parse_line(line);
    asked = from_object<Envelope>(object);
    Received received;
    received.version = asked.version;
    auto request = read_arguments(asked, arguments_of(object), received.ignored, static_cast<const Request*>(nullptr));
    if (!request) throw unknown_verb(asked);
    received.request = std::move(*request);
    return received;
  } catch (const FieldError& error) {
    const std::string whose = asked.verb.empty() ? "a request" : "the request '" + asked.verb + "'";
    throw Error(Errc::protocol, whose + " cannot be understood: " + error.what(),
                "docs/protocols.md has what can be asked for");
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(Errc::protocol, "a request cannot be understood", "docs/protocols.md has what can be asked for")
        .because(error.what());
  }
}

void refuse_result(std::string_view verb, const FieldError& error) {
  throw Error(Errc::protocol,
              "the daemon's answer to '" + std::string(verb) + "' cannot be understood: " + error.what(),
              "if colima-like was just updated, run 'colima-like restart'");
}

}  // namespace cl::rpc
