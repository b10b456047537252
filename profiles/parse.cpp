#include "profiles/parse.hpp"

#include <yaml-cpp/yaml.h>

#include <set>

#include "profiles/keys.hpp"

namespace cl {
namespace {

class Reader {
 public:
  Reader(Parsed& into, const std::string& file) : into_(into), file_(file) {}

  void read_map(const YAML::Node& map, const std::string& prefix) {
    // yaml-cpp keeps a repeated key and silently uses the first: walk the map once and look ourselves.
    std::set<std::string> seen;
    for (const auto& entry : map) {
      if (!entry.first.IsScalar()) {
        complain(entry.first, "a key must be a plain word");
        continue;
      }
      const std::string name = prefix + entry.first.Scalar();
      if (!seen.insert(name).second) {
        complain(entry.first, name + " is given twice");
        continue;
      }
      read_entry(name, entry.first, entry.second);
    }
  }

  void complain(const YAML::Node& at, const std::string& message) { complain(at.Mark(), message); }
  void complain(const YAML::Mark& mark, const std::string& message) {
    std::string where = file_;
    if (!mark.is_null()) where += ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1);
    into_.problems.push_back({std::move(where), message});
  }

 private:
  void read_entry(const std::string& name, const YAML::Node& key, const YAML::Node& value) {
    if (const Key* row = find_key(name)) {
      // Scalars are read as their text: yaml-cpp would read 010 as 8 and "no" as a string here, a bool there.
      if (!value.IsScalar()) return complain(value.Mark().is_null() ? key : value, name + " must be a single value");
      if (const auto wrong = row->set(into_.profile, value.Scalar())) complain(value, name + " " + *wrong);
      return;
    }
    std::vector<std::string_view> names;
    for (const Key& row : keys()) {
      if (row.name.starts_with(name + ".")) {
        if (value.IsMap()) return read_map(value, name + ".");
        if (value.IsNull()) return;
        return complain(value, name + " must be a group of keys");
      }
      names.push_back(row.name);
    }
    std::string message = "unknown key " + name;
    if (const std::string near = nearest(name, names); !near.empty()) message += "; did you mean " + near + "?";
    complain(key, message);
  }

  Parsed& into_;
  const std::string& file_;
};

}  // namespace

Parsed parse_profile(std::string_view yaml, const std::string& file) {
  Parsed parsed;
  Reader reader(parsed, file);
  try {
    const YAML::Node root = YAML::Load(std::string(yaml));
    if (root.IsMap()) {
      reader.read_map(root, "");
    } else if (!root.IsNull()) {
      reader.complain(root, "a profile must be a list of 'key: value' lines");
    }
  } catch (const YAML::Exception& error) {
    reader.complain(error.mark, error.msg);
  }
  return parsed;
}

std::string default_profile_yaml() {
  const Profile defaults;
  std::string text =
      "# A profile of colima-like. Every key may be left out: what stands here after '#' is then used.\n"
      "# This file is yours: colima-like reads it at each start and never rewrites it.\n";
  std::string group;
  for (const Key& key : keys()) {
    std::string_view name = key.name;
    std::string indent;
    if (const auto dot = name.find('.'); dot != std::string_view::npos) {
      const std::string its_group(name.substr(0, dot));
      if (its_group != group) text += "\n" + its_group + ":";
      group = its_group;
      name.remove_prefix(dot + 1);
      indent = "  ";
    }
    text += "\n" + indent + "# " + std::string(key.meaning) + "\n" + indent + "# " + std::string(name) + ": " +
            key.get(defaults) + "\n";
  }
  return text;
}

}  // namespace cl
