#include "profiles/parse.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <optional>
#include <set>
#include <sstream>

#include "profiles/keys.hpp"
#include "src/base/error.hpp"

namespace cl {
namespace json = boost::json;
namespace {

/// yaml-cpp descends by recursion, so a file of brackets would end us; ours need three levels.
constexpr int deepest = 32;

std::string place_text(const std::string& file, const YAML::Mark& mark) {
  if (mark.is_null()) return file;
  return file + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1);
}

/// A scalar as JSON, typed by YAML's core rules: for what is passed through as it is.
json::value typed(const YAML::Node& scalar) {
  const std::string& text = scalar.Scalar();
  if (scalar.Tag() == "!") return json::value(text);  // quoted
  if (text == "true" || text == "false") return json::value(text == "true");
  std::int64_t whole = 0;
  const char* end = text.data() + text.size();
  if (const auto [stop, failure] = std::from_chars(text.data(), end, whole); failure == std::errc{} && stop == end)
    return json::value(whole);
  double number = 0;
  if (const auto [stop, failure] = std::from_chars(text.data(), end, number); failure == std::errc{} && stop == end)
    return json::value(number);
  return json::value(text);
}

/// Aliases let a small file mean a huge or an endless one: whoever descends pays here for each node.
class Budget {
 public:
  void enter(const YAML::Node& node) {
    if (++nodes_ > 4096 || ++depth_ > deepest) throw YAML::Exception(node.Mark(), "this holds too many values");
  }
  void leave() { --depth_; }

 private:
  int nodes_ = 0, depth_ = 0;
};

/// Any node as JSON; scalars as their text unless `with_types`.
json::value to_json(const YAML::Node& node, bool with_types, Budget& budget) {
  budget.enter(node);
  json::value out;
  if (node.IsSequence()) {
    json::array& array = out.emplace_array();
    for (const YAML::Node& item : node) array.push_back(to_json(item, with_types, budget));
  } else if (node.IsMap()) {
    json::object& object = out.emplace_object();
    for (const auto& entry : node) object[entry.first.Scalar()] = to_json(entry.second, with_types, budget);
  } else if (node.IsScalar()) {
    out = with_types ? typed(node) : json::value(node.Scalar());
  }
  budget.leave();
  return out;
}
json::value to_json(const YAML::Node& node, bool with_types) {
  Budget budget;
  return to_json(node, with_types, budget);
}

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
      const KeyPlace place = place_of(entry.first, entry.second, map.Style() == YAML::EmitterStyle::Flow);
      read_entry(name, entry.first, entry.second, place);
    }
  }

  void complain(const YAML::Node& at, const std::string& message) { complain(at.Mark(), message); }
  void complain(const YAML::Mark& mark, const std::string& message) {
    into_.problems.push_back({place_text(file_, mark), message});
  }

 private:
  static KeyPlace place_of(const YAML::Node& key, const YAML::Node& value, bool in_flow) {
    KeyPlace place{key.Mark().line, key.Mark().column, -1, -1, in_flow};
    if (!value.IsNull() && !value.Mark().is_null()) {
      place.value_line = value.Mark().line;
      place.value_column = value.Mark().column;
    }
    return place;
  }

  void read_entry(const std::string& name, const YAML::Node& key, const YAML::Node& value, const KeyPlace& place) {
    if (const Key* row = find_key(name); row != nullptr && key.Scalar().find('.') == std::string::npos) {
      into_.given[name] = place;
      return read_value(*row, key, value);
    }
    for (const Key& row : keys()) {
      if (!row.name.starts_with(name + ".")) continue;
      into_.groups[name] = place;
      if (value.IsMap()) return read_map(value, name + ".");
      if (value.IsNull()) return;
      return complain(value, name + " must be a group of keys");
    }
    if (const auto dot = name.find('.'); find_key(name) != nullptr)
      return complain(key, "write this as '" + name.substr(dot + 1) + ":' under '" + name.substr(0, dot) + ":'");
    if (name == "kubernetes") return complain(key, "kubernetes is kept for later: there is no Kubernetes here yet");
    complain(key, "unknown key " + name + did_you_mean(name));
  }

  void read_value(const Key& row, const YAML::Node& key, const YAML::Node& value) {
    const std::string name(row.name);
    const YAML::Mark mark = value.Mark().is_null() ? key.Mark() : value.Mark();
    switch (row.kind) {
      case Kind::scalar:
        // Scalars are read as their text: yaml-cpp would read 010 as 8 and "no" as a string here, a bool there.
        if (!value.IsScalar()) return complain(mark, name + " must be a single value");
        return set(row, mark, value.Scalar(), name);
      case Kind::list:
        if (!value.IsSequence()) return complain(mark, name + " must be a list");
        return read_items(row, value);
      case Kind::map:
        if (!value.IsMap()) return complain(mark, name + " must be a group of 'name: value' lines");
        return read_named(row, value);
      case Kind::groups:
        if (!value.IsSequence()) return complain(mark, name + " must be a list");
        return read_groups(row, value);
      case Kind::json:
        if (!value.IsMap()) return complain(mark, name + " must be a group of 'name: value' lines");
        return set(row, mark, json::serialize(to_json(value, true)), name);
    }
  }

  /// Each item alone, so that every wrong one is told with its place; then all of them.
  void read_items(const Key& row, const YAML::Node& list) {
    const std::size_t before = into_.problems.size();
    Profile scratch;
    for (const YAML::Node& item : list) {
      if (!item.IsScalar()) {
        complain(item, std::string(row.name) + " must be a list of single values");
      } else if (const auto wrong = row.set(scratch, json::serialize(json::array{item.Scalar()}))) {
        complain(item, "an item of " + std::string(row.name) + " " + *wrong);
      }
    }
    if (into_.problems.size() == before)
      set(row, list.Mark(), json::serialize(to_json(list, false)), std::string(row.name));
  }

  void read_groups(const Key& row, const YAML::Node& list) {
    const std::size_t before = into_.problems.size();
    const std::string item_of = "an item of " + std::string(row.name);
    Profile scratch;
    for (const YAML::Node& item : list) {
      if (!item.IsMap()) {
        complain(item, item_of + " must be a group of 'name: value' lines");
        continue;
      }
      std::set<std::string> seen;
      const std::size_t so_far = into_.problems.size();
      for (const auto& entry : item) {
        if (!entry.first.IsScalar() || !entry.second.IsScalar()) {
          complain(entry.first, item_of + " must have single values");
        } else if (!seen.insert(entry.first.Scalar()).second) {
          complain(entry.first, entry.first.Scalar() + " is given twice");
        }
      }
      if (into_.problems.size() != so_far) continue;
      if (const auto wrong = row.set(scratch, json::serialize(json::array{to_json(item, false)})))
        complain(item, item_of + " " + *wrong);
    }
    if (into_.problems.size() == before)
      set(row, list.Mark(), json::serialize(to_json(list, false)), std::string(row.name));
  }

  void read_named(const Key& row, const YAML::Node& map) {
    const std::size_t before = into_.problems.size();
    Profile scratch;
    std::set<std::string> seen;
    for (const auto& entry : map) {
      const std::string name = std::string(row.name) + "." + (entry.first.IsScalar() ? entry.first.Scalar() : "");
      if (!entry.first.IsScalar() || !entry.second.IsScalar()) {
        complain(entry.first, name + " must be a single value");
      } else if (!seen.insert(name).second) {
        complain(entry.first, name + " is given twice");
      } else if (const auto wrong =
                     row.set(scratch, json::serialize(json::object{{entry.first.Scalar(), entry.second.Scalar()}}))) {
        complain(entry.second, name + " " + *wrong);
      }
    }
    if (into_.problems.size() == before)
      set(row, map.Mark(), json::serialize(to_json(map, false)), std::string(row.name));
  }

  void set(const Key& row, const YAML::Mark& mark, const std::string& text, const std::string& name) {
    if (const auto wrong = row.set(into_.profile, text)) complain(mark, name + " " + *wrong);
  }

  Parsed& into_;
  const std::string& file_;
};

/// What must not even reach yaml-cpp, which would go round for ever or descend without end; with its place.
std::optional<Problem> hopeless(std::string_view yaml, const std::string& file) {
  int brackets = 0, line = 0;
  std::size_t line_start = 0;
  auto at = [&](std::size_t i, const char* message) {
    return Problem{file + ":" + std::to_string(line + 1) + ":" + std::to_string(i - line_start + 1), message};
  };
  for (std::size_t i = 0; i < yaml.size(); ++i) {
    const auto c = static_cast<unsigned char>(yaml[i]);
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f || c >= 0xfe)
      return at(i, "this character does not belong into YAML");
    if (c == '[' || c == '{') ++brackets;
    if (c == ']' || c == '}') brackets = std::max(0, brackets - 1);
    if (c == '\n') {
      line_start = i + 1;
      ++line;
    }
    // Block levels cost a column each at least; "- - - -" and "? ? ?" nest on one line.
    const bool opens = (c == '-' || c == '?') && i + 1 < yaml.size() && yaml[i + 1] == ' ';
    if (brackets > deepest || (opens && (i - line_start) > 4UL * deepest)) return at(i, "this nests too deep");
  }
  return std::nullopt;
}

/// The same YAML with the words of its comment lines cut off: yaml-cpp takes half a millisecond for those of a new
/// profile, and `list` reads many. Lines and columns stay. Where such a line could be part of a value (block scalars,
/// quotes over several lines) everything stays.
std::string without_comments(std::string_view yaml) {
  std::string out;
  for (std::string_view rest = yaml; !rest.empty();) {
    const auto end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const auto first = line.find_first_not_of(' ');
    const bool comment = first != std::string_view::npos && line[first] == '#';
    const auto odd = [line](char quote) { return std::count(line.begin(), line.end(), quote) % 2 != 0; };
    if (line.find('\r') != std::string_view::npos) return std::string(yaml);  // a line may end there
    if (!comment && (line.find_first_of("|>\\") != std::string_view::npos || odd('"') || odd('\'')))
      return std::string(yaml);
    out += comment ? line.substr(0, first + 1) : line;
    out += '\n';
  }
  return out;
}

/// Where a second document begins, or what else stands behind the first; YAML::Load leaves it unread. LoadAll would
/// read a lone ',' for ever.
std::optional<YAML::Mark> behind_first_document(const std::string& yaml) {
  struct Ear : YAML::EventHandler {
    YAML::Mark start;
    void OnDocumentStart(const YAML::Mark& mark) override { start = mark; }
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
    void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
    void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
    void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
    void OnSequenceEnd() override {}
    void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
    void OnMapEnd() override {}
  } ear;
  std::istringstream stream(yaml);
  YAML::Parser parser(stream);
  if (!parser.HandleNextDocument(ear) || !parser.HandleNextDocument(ear)) return std::nullopt;
  return ear.start;
}

void flatten(const YAML::Node& map, const std::string& prefix, std::vector<ForeignSetting>& into, Budget& budget,
             const std::map<std::string, bool>& whole);

ForeignSetting foreign(const std::string& name, const YAML::Node& value, int line, Budget& budget, bool with_types) {
  ForeignSetting setting{name, {}, value.IsSequence(), {}, line};
  if (value.IsScalar()) setting.text = value.Scalar();
  if (value.IsMap()) setting.text = json::serialize(to_json(value, with_types));
  if (!value.IsSequence()) return setting;
  setting.text = json::serialize(to_json(value, false));
  int number = 0;
  for (const YAML::Node& item : value) {
    const std::string its = std::to_string(number++);
    if (item.IsMap()) {
      flatten(item, its + ".", setting.items, budget, {});
    } else {
      setting.items.push_back(foreign(its, item, item.Mark().line + 1, budget, false));
    }
  }
  return setting;
}

void flatten(const YAML::Node& map, const std::string& prefix, std::vector<ForeignSetting>& into, Budget& budget,
             const std::map<std::string, bool>& whole) {
  budget.enter(map);
  for (const auto& entry : map) {
    const std::string name = prefix + (entry.first.IsScalar() ? entry.first.Scalar() : std::string("?"));
    if (entry.second.IsMap() && entry.second.size() > 0 && !whole.contains(name)) {
      flatten(entry.second, name + ".", into, budget, whole);
    } else {
      into.push_back(
          foreign(name, entry.second, entry.first.Mark().line + 1, budget, whole.contains(name) && whole.at(name)));
    }
  }
  budget.leave();
}

}  // namespace

Parsed parse_profile(std::string_view yaml, const std::string& file, const Profile& base) {
  Parsed parsed;
  parsed.profile = base;
  Reader reader(parsed, file);
  if (auto problem = hopeless(yaml, file)) {
    parsed.problems.push_back(std::move(*problem));
    return parsed;
  }
  try {
    const std::string text = without_comments(yaml);
    if (const auto more = behind_first_document(text)) reader.complain(*more, "this does not belong to the profile");
    const YAML::Node root = YAML::Load(text);
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

std::vector<ForeignSetting> flatten_yaml(std::string_view yaml, const std::string& file,
                                         const std::map<std::string, bool>& whole) {
  std::vector<ForeignSetting> settings;
  if (const auto problem = hopeless(yaml, file))
    throw Error(Errc::invalid_config, problem->where + ": " + problem->message);
  try {
    const YAML::Node root = YAML::Load(std::string(yaml));
    if (!root.IsMap() && !root.IsNull()) throw Error(Errc::invalid_config, file + " is no list of 'key: value' lines");
    Budget budget;
    if (root.IsMap()) flatten(root, "", settings, budget, whole);
  } catch (const YAML::Exception& error) {
    throw Error(Errc::invalid_config, place_text(file, error.mark) + " cannot be read").because(error.msg);
  }
  return settings;
}

std::string default_profile_yaml() {
  const Profile defaults;
  std::string text =
      "# A profile of colima-like. Every key may be left out: what stands here after '#' is then used, unless the\n"
      "# template ('colima-like template show') says otherwise. This file is yours: only 'colima-like config' writes "
      "it.\n"
      "# A change marked live needs 'colima-like apply', restart the next start, and recreate another machine.\n";
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
    const std::string value = key.get(defaults);
    text += "\n" + indent + "# " + meaning_of(key) + " (" + std::string(to_string(key.change)) + ")\n" + indent + "# " +
            std::string(name) + ": " + (value.empty() ? "\"\"" : value) + "\n";
  }
  return text;
}

}  // namespace cl
