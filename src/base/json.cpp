#include "src/base/json.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

namespace cl {
namespace {

void append(std::string& out, const boost::json::value& value, std::string_view indent, const std::string& margin) {
  const std::string deeper = margin + std::string(indent);
  if (value.is_object() && !value.get_object().empty()) {
    out += "{\n";
    const auto& object = value.get_object();
    for (auto entry = object.begin(); entry != object.end(); ++entry) {
      out += deeper + boost::json::serialize(boost::json::value(entry->key())) + ": ";
      append(out, entry->value(), indent, deeper);
      out += std::next(entry) == object.end() ? "\n" : ",\n";
    }
    out += margin + "}";
  } else if (value.is_array() && !value.get_array().empty()) {
    out += "[\n";
    const auto& array = value.get_array();
    for (std::size_t i = 0; i < array.size(); ++i) {
      out += deeper;
      append(out, array[i], indent, deeper);
      out += i + 1 == array.size() ? "\n" : ",\n";
    }
    out += margin + "]";
  } else {
    out += boost::json::serialize(value);
  }
}

}  // namespace

std::string pretty_json(const boost::json::value& value, std::string_view indent) {
  std::string out;
  append(out, value, indent, "");
  return out;
}

const boost::json::value* find_at(const boost::json::value* value, std::string_view key) {
  return value != nullptr && value->is_object() ? value->get_object().if_contains(key) : nullptr;
}

std::string_view text_at(const boost::json::object& object, std::string_view key) {
  const boost::json::value* found = object.if_contains(key);
  return found != nullptr && found->is_string() ? std::string_view(found->get_string()) : std::string_view();
}

std::string_view text_at(const boost::json::value& value, std::string_view key) {
  return value.is_object() ? text_at(value.get_object(), key) : std::string_view();
}

}  // namespace cl
