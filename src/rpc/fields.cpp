#include "src/rpc/fields.hpp"

namespace cl::rpc {
namespace {

FieldError expected(std::string_view what, const json::value& found) {
  return FieldError("must be " + std::string(what) + ", and is " + std::string(kind_of(found)));
}

void limit(std::size_t entries) {
  if (entries > max_entries) throw FieldError("has more than " + std::to_string(max_entries) + " entries");
}

}  // namespace

std::string_view kind_of(const json::value& value) noexcept {
  switch (value.kind()) {
    case json::kind::null: return "null";
    case json::kind::bool_: return "true or false";
    case json::kind::int64:
    case json::kind::uint64:
    case json::kind::double_: return "a number";
    case json::kind::string: return "a text";
    case json::kind::array: return "a list";
    case json::kind::object: return "an object";
  }
  return "unknown";
}

bool is_empty(const json::value& value) noexcept {
  switch (value.kind()) {
    case json::kind::null: return true;
    case json::kind::bool_: return !value.get_bool();
    case json::kind::int64: return value.get_int64() == 0;
    case json::kind::uint64: return value.get_uint64() == 0;
    case json::kind::double_: return value.get_double() == 0;
    case json::kind::string: return value.get_string().empty();
    case json::kind::array: return value.get_array().empty();
    case json::kind::object: return value.get_object().empty();
  }
  return false;
}

void read(const json::value& from, bool& into) {
  if (!from.is_bool()) throw expected("true or false", from);
  into = from.get_bool();
}

void read(const json::value& from, std::string& into) {
  if (!from.is_string()) throw expected("a text", from);
  into = std::string_view(from.get_string());
}

void read(const json::value& from, std::chrono::milliseconds& into) {
  into = std::chrono::milliseconds(read_number(from, 0, std::numeric_limits<std::int64_t>::max()));
}

void read(const json::value& from, TextMap& into) {
  if (!from.is_object()) throw expected("an object of texts", from);
  limit(from.get_object().size());
  for (const auto& [name, value] : from.get_object()) {
    if (!value.is_string())
      throw FieldError("has an entry '" + std::string(name) + "' that must be a text, and is " +
                       std::string(kind_of(value)));
    into[name] = std::string_view(value.get_string());
  }
}

std::int64_t read_number(const json::value& from, std::int64_t least, std::uint64_t most) {
  if (!from.is_number()) throw expected("a number", from);
  boost::system::error_code inexact;
  const auto number = from.to_number<std::int64_t>(inexact);
  if (!inexact && number >= least && (number < 0 || static_cast<std::uint64_t>(number) <= most)) return number;
  if (from.is_uint64() && from.get_uint64() <= most) return static_cast<std::int64_t>(from.get_uint64());
  throw FieldError("must be a whole number from " + std::to_string(least) + " to " + std::to_string(most));
}

json::value write(const TextMap& value) {
  json::object object;
  for (const auto& [name, text] : value) object[name] = text;
  return object;
}

const json::array& list_in(const json::value& value) {
  if (!value.is_array()) throw expected("a list", value);
  limit(value.get_array().size());
  return value.get_array();
}

}  // namespace cl::rpc
