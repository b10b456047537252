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

/// What another program sent may lack anything: the text at `key`; empty when there is none, or no object.
std::string_view text_at(const boost::json::object& object, std::string_view key);
std::string_view text_at(const boost::json::value& value, std::string_view key);

}  // namespace cl
