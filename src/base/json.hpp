#pragma once

#include <string>
#include <string_view>

namespace boost::json {
class object;
class value;
}  // namespace boost::json

namespace cl {

/// JSON for people: an entry on a line of its own, each level moved in by `indent`. Ends without a newline.
std::string pretty_json(const boost::json::value& value, std::string_view indent);

/// What another program sent may lack anything: the value at `key`, which is `value`'s; nullptr when there is none, or
/// `value` is nothing or no object.
const boost::json::value* find_at(const boost::json::value* value, std::string_view key);
/// The text at `key`; empty when there is none, or no object.
std::string_view text_at(const boost::json::object& object, std::string_view key);
std::string_view text_at(const boost::json::value& value, std::string_view key);

}  // namespace cl
