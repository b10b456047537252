#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <iostream>

#include "src/app/doctor.hpp"
#include "src/base/task_group.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

namespace json = boost::json;

/// One row a finding, and its remedy under it.
void print_findings(const json::array& findings) {
  std::size_t width = 0;
  for (const json::value& one : findings) width = std::max(width, one.at("subject").as_string().size());
  for (const json::value& one : findings) {
    const std::string verdict(one.at("verdict").as_string());
    std::string subject(one.at("subject").as_string());
    subject.resize(width, ' ');
    const std::string_view text = one.at("text").as_string();
    print_line(fmt::format("{:<{}} {}  {}", verdict, sizeof "warning", subject, text));
    if (const json::value* remedy = one.as_object().if_contains("remedy"))
      print_line(std::string(sizeof "warning" + 1 + width + 2, ' ') + "try " + std::string(remedy->as_string()));
  }
}

bool any_problem(const json::array& findings) {
  for (const json::value& one : findings)
    if (one.at("verdict").as_string() == "problem") return true;
  return false;
}

asio::awaitable<int> doctor(const Invocation& call) {
  const json::object found = co_await cl::doctor(call.home, call.profile);
  const json::array& host = found.at("host").as_array();
  const json::array& profile = found.at("profile").as_array();
  if (call.json) {
    print_json(found);
  } else {
    std::cout << "this host\n";
    print_findings(host);
    if (!profile.empty()) std::cout << "profile " << call.profile << '\n';
    print_findings(profile);
  }
  if (any_problem(host)) co_return exit_code(Errc::host_requirement);
  co_return any_problem(profile) ? exit_code(Errc::guest_failed) : 0;
}

}  // namespace

int run_doctor(const Invocation& call) { return run_async(doctor(call)); }

}  // namespace cl::cli
