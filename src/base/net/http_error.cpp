#include "src/base/net/http_error.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

namespace cl {

std::string http_error(std::string_view status, const Error& error) {
  return http_error(status, one_line(error) + (error.remedy().empty() ? "" : ". " + error.remedy()));
}

std::string http_error(std::string_view status, std::string_view message) {
  boost::json::object object;
  object["message"] = message;
  const std::string body = boost::json::serialize(object) + "\n";
  return "HTTP/1.1 " + std::string(status) +
         "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\nConnection: close\r\n\r\n" + body;
}

}  // namespace cl
