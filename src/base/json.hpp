#pragma once

#include <string>
#include <string_view>

namespace boost::json {
class value;
}

namespace cl {

/// JSON for people: an entry on a line of its own, each level moved in by `indent`. Ends without a newline.
std::string pretty_json(const boost::json::value& value, std::string_view indent);

}  // namespace cl
