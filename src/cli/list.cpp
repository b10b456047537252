#include <boost/json/array.hpp>

#include "profiles/store.hpp"
#include "src/cli/command.hpp"
#include "src/cli/output.hpp"
#include "src/cli/summary.hpp"

namespace cl::cli {

int run_list(const Invocation& call) {
  boost::json::array all;
  for (const std::string& name : list_profiles(call.home)) all.push_back(describe(call.home, name));
  const std::string current = current_profile(call.home).name;
  for (boost::json::value& one : all) {
    auto& row = one.as_object();
    row["current"] = row.at("name") == boost::json::value(current);
  }
  if (call.json) {
    print_json(all);
    return 0;
  }
  if (all.empty()) {
    print_note("there are no profiles yet; 'colima-like start' makes the first");
    return 0;
  }
  std::vector<std::vector<std::string>> rows{{"", "NAME", "STATE", "ARCH", "CPUS", "MEMORY", "DISK", "RUNTIME"}};
  for (const boost::json::value& one : all) {
    const auto& row = one.as_object();
    auto text = [&](std::string_view key) { return std::string(row.at(key).as_string()); };
    auto size = [&](std::string_view key) { return ByteSize::bytes(row.at(key).to_number<std::uint64_t>()).str(); };
    const std::string mark = row.at("current").as_bool() ? "*" : "";
    if (row.contains("cpus")) {
      const auto cpus = std::to_string(row.at("cpus").to_number<int>());
      rows.push_back(
          {mark, text("name"), text("state"), text("arch"), cpus, size("memory"), size("disk"), text("runtime")});
    } else if (row.contains("host")) {
      rows.push_back({mark, text("name"), text("state"), row.contains("arch") ? text("arch") : "-", "-", "-", "-",
                      text("runtime") + " on " + text("host")});
    } else {
      rows.push_back({mark, text("name"), text("state"), "-", "-", "-", "-", "-"});
    }
  }
  print_table(rows);
  return 0;
}

}  // namespace cl::cli
