#include "profiles/edit.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <vector>

#include "profiles/parse.hpp"
#include "profiles/store.hpp"
#include "src/base/error.hpp"

namespace cl {
namespace json = boost::json;
namespace {

/// A file as lines without their ends. "" has no line and a final newline, so that adding and removing are inverse.
struct Text {
  std::vector<std::string> lines;
  bool final_newline = true;
  std::string carriage_return;  ///< "\r" in a file of Windows

  explicit Text(const std::string& bytes) {
    if (bytes.empty()) return;
    std::string line;
    for (const char c : bytes) {
      if (c == '\n') lines.push_back(std::exchange(line, {}));
      if (c != '\n') line += c;
    }
    final_newline = bytes.back() == '\n';
    if (!final_newline) lines.push_back(line);
    if (lines.front().ends_with('\r') && (lines.size() > 1 || final_newline)) carriage_return = "\r";
  }
  std::string str() const {
    std::string bytes;
    for (std::size_t i = 0; i < lines.size(); ++i)
      bytes += lines[i] + (i + 1 < lines.size() || final_newline ? "\n" : "");
    return bytes;
  }
  void insert(std::size_t at, std::string line) {
    // The last line of a file without a final newline has no line end of its own.
    const bool at_open_end = at == lines.size() && !final_newline;
    if (at_open_end && !lines.empty()) lines.back() += carriage_return;
    lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(at), line + (at_open_end ? "" : carriage_return));
  }
  void erase(std::size_t from, std::size_t to) {
    const bool at_open_end = to == lines.size() && !final_newline;
    lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(from), lines.begin() + static_cast<std::ptrdiff_t>(to));
    if (at_open_end && !lines.empty() && !carriage_return.empty() && lines.back().ends_with('\r'))
      lines.back().pop_back();
  }
};

std::size_t indent_of(std::string_view line) { return std::min(line.find_first_not_of(' '), line.size()); }

std::string_view content(std::string_view line) {
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) line.remove_suffix(1);
  line.remove_prefix(indent_of(line));
  return line;
}
bool blank(std::string_view line) { return content(line).empty(); }
bool comment(std::string_view line) { return content(line).starts_with('#'); }

/// One past the last line that belongs to what begins at `first` with this indentation; comments and blank lines
/// behind it do not.
std::size_t end_of_block(const Text& text, std::size_t first, std::size_t indent, Kind kind) {
  std::size_t end = first + 1;
  for (std::size_t i = first + 1; i < text.lines.size(); ++i) {
    const std::string& line = text.lines[i];
    if (blank(line)) continue;
    const bool item =
        (kind == Kind::list || kind == Kind::groups) && indent_of(line) == indent && content(line).starts_with('-');
    const bool deeper = indent_of(line) > indent;
    if (comment(line)) continue;
    if (!deeper && !item) break;
    end = i + 1;
  }
  return end;
}

/// `group` and `leaf` of "vm.accel"; no group for "cpus".
struct Name {
  std::string group, leaf;
  explicit Name(std::string_view key) {
    const auto dot = key.find('.');
    if (dot != std::string_view::npos) group = key.substr(0, dot);
    leaf = dot == std::string_view::npos ? key : key.substr(dot + 1);
  }
};

/// The value as YAML on one line.
std::string as_yaml(const Key& key, const std::string& text) {
  if (key.kind != Kind::scalar) return text;
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("._/+-").find(static_cast<char>(c)) != std::string_view::npos;
  });
  return plain && text.front() != '-' ? text : json::serialize(json::value(text));
}

/// Where a one-line value ends in its line: before the comment, if there is one.
std::size_t end_of_value(const std::string& line, std::size_t begin) {
  char quote = '\0';
  std::size_t end = begin;
  for (std::size_t i = begin; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != '\0') {
      if (c == '\\' && quote == '"') ++i;
      if (c == quote) quote = '\0';
    } else if ((c == '"' || c == '\'') &&
               (i == begin || std::string_view("[{, :").find(line[i - 1]) != std::string_view::npos)) {
      quote = c;
    } else if (c == '#' && i > begin && (line[i - 1] == ' ' || line[i - 1] == '\t')) {
      break;
    }
    if (c != ' ' && c != '\t' && c != '\r') end = std::min(i + 1, line.size());
  }
  return end;
}

Error only_by_hand(const std::string& file, const KeyPlace& at, const Key& key) {
  return Error(Errc::invalid_config,
               file + ":" + std::to_string(at.line + 1) + ": " + std::string(key.name) +
                   " stands here in a form that is not changed automatically",
               "change it by hand: colima-like config edit");
}

Parsed parse_valid(const std::string& yaml, const std::string& file) {
  // YAML ends a line there too, so its places would not be those of our lines.
  for (auto at = yaml.find('\r'); at != std::string::npos; at = yaml.find('\r', at + 1))
    if (at + 1 == yaml.size() || yaml[at + 1] != '\n')
      throw Error(Errc::invalid_config, file + " has a carriage return inside a line", "colima-like config edit");
  Parsed parsed = parse_profile(yaml, file);
  if (!parsed.problems.empty()) throw invalid(file + " is not valid", parsed.problems, "colima-like config edit");
  return parsed;
}

std::size_t index(int line) { return static_cast<std::size_t>(line); }

void replace_value(Text& text, const Key& key, const KeyPlace& at, const std::string& value, const std::string& file) {
  std::string& line = text.lines[index(at.line)];
  const std::size_t last = end_of_block(text, index(at.line), index(at.column), key.kind);
  if (at.in_flow) throw only_by_hand(file, at, key);
  for (std::size_t i = index(at.line) + 1; i < last; ++i)
    if (comment(text.lines[i])) throw only_by_hand(file, at, key);
  if (at.value_line == at.line) {
    const auto begin = index(at.value_column);
    line.replace(begin, end_of_value(line, begin) - begin, value);
  } else {
    line.insert(line.find(':', index(at.column)) + 1, " " + value);
  }
  text.erase(index(at.line) + 1, last);
}

/// Just after the commented default that new files have, or nothing.
std::optional<std::size_t> after_its_comment(const Text& text, const std::string& leaf, std::size_t from,
                                             std::size_t to) {
  for (std::size_t i = from; i < to; ++i)
    if (content(text.lines[i]).starts_with("# " + leaf + ":")) return i + 1;
  return std::nullopt;
}

/// Whether a key without a group may stand before line `at`: not inside something that is indented.
bool between_blocks(const Text& text, std::size_t at) {
  while (at < text.lines.size() && (blank(text.lines[at]) || comment(text.lines[at]))) ++at;
  return at == text.lines.size() || indent_of(text.lines[at]) == 0;
}

/// One past the comments and keys under a group's header: comments that are indented count, unlike in end_of_block.
std::size_t end_of_group(const Text& text, const KeyPlace& header) {
  std::size_t end = index(header.line) + 1;
  for (std::size_t i = end; i < text.lines.size(); ++i) {
    if (blank(text.lines[i])) continue;
    if (indent_of(text.lines[i]) <= index(header.column)) break;
    end = i + 1;
  }
  return end;
}

void add(Text& text, const Parsed& parsed, const Key& key, const std::string& value, const std::string& file) {
  const Name name(key.name);
  const std::string line = name.leaf + ": " + value;
  if (name.group.empty()) {
    const auto beside = after_its_comment(text, name.leaf, 0, text.lines.size());
    const bool fits = beside && indent_of(text.lines[*beside - 1]) == 0 && between_blocks(text, *beside);
    text.insert(fits ? *beside : text.lines.size(), line);
    return;
  }
  const auto group = parsed.groups.find(name.group);
  if (group == parsed.groups.end()) {
    if (!text.lines.empty()) text.insert(text.lines.size(), "");
    text.insert(text.lines.size(), name.group + ":");
    text.insert(text.lines.size(), "  " + line);
    return;
  }
  const KeyPlace& header = group->second;
  if (header.in_flow || header.value_line == header.line) throw only_by_hand(file, header, key);
  const std::size_t first = index(header.line) + 1, end = end_of_group(text, header);
  std::size_t indent = index(header.column) + 2;
  for (std::size_t i = first; i < end; ++i)
    if (!blank(text.lines[i])) {
      indent = indent_of(text.lines[i]);
      break;
    }
  for (const auto& [other, place] : parsed.given)
    if (other.starts_with(name.group + ".")) indent = index(place.column);
  const std::string indented = std::string(indent, ' ') + line;
  if (end == first) {  // a bare header: the blank line tells unset_in_file() that the header was there before
    text.insert(first, "");
    text.insert(first + 1, indented);
  } else {
    text.insert(after_its_comment(text, name.leaf, first, end).value_or(end), indented);
  }
}

void remove(Text& text, const Parsed& parsed, const Key& key, const KeyPlace& at, const std::string& file) {
  if (at.in_flow) throw only_by_hand(file, at, key);
  std::size_t first = index(at.line);
  std::size_t last = end_of_block(text, first, index(at.column), key.kind);
  const auto group = parsed.groups.find(Name(key.name).group);
  if (group != parsed.groups.end()) {
    const std::size_t header = index(group->second.line);
    bool alone = true;
    for (std::size_t i = header + 1; i < end_of_group(text, group->second); ++i)
      if ((i < first || i >= last) && !blank(text.lines[i])) alone = false;
    if (alone && first == header + 2 && blank(text.lines[header + 1])) {
      first = header + 1;
    } else if (alone && first == header + 1 && last == text.lines.size() &&
               (header == 0 || blank(text.lines[header - 1]))) {
      first = header == 0 ? 0 : header - 1;
    }
  }
  text.erase(first, last);
}

/// A line editor cannot know all of YAML: what it made must read as everything as before and this key as wanted.
std::string proven(const Text& text, const Parsed& before, const Profile& wanted, const Key& key, bool given,
                   const std::string& file) {
  std::string bytes = text.str();
  const Parsed after = parse_profile(bytes, file);
  std::size_t expected = before.given.size() - before.given.count(std::string(key.name)) + (given ? 1U : 0U);
  const bool same = after.problems.empty() && after.profile == wanted && after.given.size() == expected &&
                    (after.given.count(std::string(key.name)) == 1) == given;
  if (same) return bytes;
  const auto at = before.given.find(std::string(key.name));
  throw only_by_hand(file, at == before.given.end() ? KeyPlace{} : at->second, key);
}

}  // namespace

std::string set_in_file(const std::string& yaml, const Key& key, std::string_view value, const std::string& file) {
  const Parsed parsed = parse_valid(yaml, file);
  Profile wanted = parsed.profile;
  if (const auto wrong = key.set(wanted, value))
    throw Error(Errc::invalid_config, std::string(key.name) + " " + *wrong);
  // A scalar as the user wrote it ("4096MiB"), the others in one form.
  const std::string written = as_yaml(key, key.kind == Kind::scalar ? std::string(value) : key.get(wanted));
  Text text(yaml);
  if (const auto at = parsed.given.find(std::string(key.name)); at != parsed.given.end()) {
    replace_value(text, key, at->second, written, file);
  } else {
    add(text, parsed, key, written, file);
  }
  return proven(text, parsed, wanted, key, true, file);
}

std::string unset_in_file(const std::string& yaml, const Key& key, const std::string& file) {
  const Parsed parsed = parse_valid(yaml, file);
  const auto at = parsed.given.find(std::string(key.name));
  if (at == parsed.given.end()) return yaml;
  Profile wanted = parsed.profile;
  key.set(wanted, key.get(Profile{}));
  Text text(yaml);
  remove(text, parsed, key, at->second, file);
  return proven(text, parsed, wanted, key, false, file);
}

}  // namespace cl
