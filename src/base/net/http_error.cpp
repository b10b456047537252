#include "src/base/net/http_error.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

namespace cl {

std::string http_error(std::string_view status, const Error& error) {
  std::string message = one_line(error);
  if (!error.remedy().empty()) message += ". " + error.remedy();
  boost::json::object object;
  object["message"] = message;
  const std::string body = boost::json::serialize(object) + "\n";
  return "HTTP/1.1 " + std::string(status) +
         "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\nConnection: close\r\n\r\n" + body;
}

}  // namespace cl
