#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <regex>

#include "profiles/keys.hpp"
#include "profiles/parse.hpp"
#include "src/base/file.hpp"

namespace cl {
namespace {

namespace json = boost::json;

std::string type_of(const json::value& value) {
  if (value.is_object()) return "object";
  if (value.is_array()) return "array";
  if (value.is_string()) return "string";
  if (value.is_bool()) return "boolean";
  if (value.is_null()) return "null";
  return value.is_double() ? "number" : "integer";
}

/// What of JSON Schema our schema uses; any other word in it is a failure of the test.
bool valid(const json::value& value, const json::object& schema) {
  bool good = true;
  for (const auto& [word, rule] : schema) {
    if (word == "description" || word == "default" || word == "title" || word == "$schema" || word == "examples")
      continue;
    if (word == "type") {
      const json::array types = rule.is_array() ? rule.get_array() : json::array{rule};
      bool any = false;
      for (const json::value& type : types)
        any = any || type == json::value(type_of(value)) || (type == "number" && type_of(value) == "integer");
      good = good && any;
    } else if (word == "enum") {
      bool any = false;
      for (const json::value& choice : rule.as_array()) any = any || choice == value;
      good = good && any;
    } else if (word == "minimum") {
      good = good && (!value.is_number() || value.to_number<double>() >= rule.to_number<double>());
    } else if (word == "exclusiveMinimum") {
      good = good && (!value.is_number() || value.to_number<double>() > rule.to_number<double>());
    } else if (word == "minLength") {
      good = good && (!value.is_string() || std::int64_t(value.get_string().size()) >= rule.to_number<std::int64_t>());
    } else if (word == "required") {
      if (value.is_object())
        for (const json::value& name : rule.as_array()) good = good && value.get_object().contains(name.as_string());
    } else if (word == "pattern") {
      const std::regex pattern(std::string(rule.as_string()));
      good = good && (!value.is_string() || std::regex_search(std::string(value.get_string()), pattern));
    } else if (word == "items") {
      if (value.is_array())
        for (const json::value& item : value.get_array()) good = good && valid(item, rule.as_object());
    } else if (word == "properties") {
      if (value.is_object())
        for (const auto& [name, of] : rule.as_object())
          if (const json::value* its = value.get_object().if_contains(name)) good = good && valid(*its, of.as_object());
    } else if (word == "additionalProperties") {
      if (!value.is_object()) continue;
      const json::value* known = schema.if_contains("properties");
      for (const auto& [name, its] : value.get_object()) {
        if (known != nullptr && known->as_object().contains(name)) continue;
        good = good && rule != json::value(false) && valid(its, rule.as_object());
      }
    } else {
      ADD_FAILURE() << "the schema uses a word that this test does not know: " << word;
    }
  }
  return good;
}

/// One key of a profile as a document; JSON is YAML.
json::object document(std::string_view key, json::value value) {
  json::object object;
  if (const auto dot = key.find('.'); dot != std::string_view::npos) {
    object[key.substr(0, dot)] = json::object{{key.substr(dot + 1), std::move(value)}};
  } else {
    object[key] = std::move(value);
  }
  return object;
}

TEST(Schema, AgreesWithTheParser) {
  const json::object schema = json::parse(json_schema()).as_object();
  // Values within the ranges that only the parser knows ("at least 512MiB", an address that is one).
  const json::array candidates{4,
                               1,
                               0,
                               -3,
                               true,
                               false,
                               nullptr,
                               "4",
                               "010",
                               "many",
                               "",
                               "2GiB",
                               "1.5 GiB",
                               "4096M",
                               "3000000KB",
                               "2X",
                               "-4GiB",
                               "0x2",
                               "host",
                               "x86_64",
                               "sparc",
                               "docker",
                               "plain",
                               "ubuntu-24.04",
                               "https://h/x.qcow2#sha512:" + std::string(128, 'a'),
                               "~/x y.raw#sha256:" + std::string(64, 'F'),
                               "https://h/x.qcow2",
                               "https://h/x.qcow2#sha512:" + std::string(64, 'a'),
                               "auto",
                               "tcg",
                               "xen",
                               "true",
                               "yes",
                               "15m",
                               "off",
                               "90s",
                               "2h",
                               "15",
                               "0.5h",
                               "~/src",
                               "/a:/b:ro",
                               "relative",
                               "published",
                               "all",
                               "::1",
                               "1.2.3.4",
                               json::array{},
                               json::array{"/a", "~"},
                               json::array{"a"},
                               json::array{"8080:80", "reverse:/run/x:~/x"},
                               json::array{4},
                               json::object{},
                               json::object{{"a", "b"}},
                               json::object{{"a", json::array{}}},
                               json::array{json::object{{"script", "true"}}},
                               json::array{json::object{{"script", "x"}, {"mode", "user"}, {"when", "ready"}}},
                               json::array{json::object{{"script", "x"}, {"when", "never"}}},
                               json::array{json::object{{"script", "x"}, {"a", "b"}}},
                               json::array{json::object{{"script", ""}}},
                               json::array{json::object{{"mode", "user"}}}};
  int accepted = 0;
  for (const Key& key : keys())
    for (const json::value& candidate : candidates) {
      // The schema knows no ranges and no addresses.
      const bool is_address = key.name == "network.address" || key.name == "network.dns" || key.name == "network.hosts";
      if (is_address && (candidate.is_string() || candidate.is_array() || candidate.is_object())) continue;
      if (candidate == "15m" && (key.name == "memory" || key.name == "disk")) continue;
      const json::object file = document(key.name, candidate);
      const Parsed parsed = parse_profile(json::serialize(file), "f");
      const bool parses = parsed.problems.empty();
      accepted += parses ? 1 : 0;
      EXPECT_EQ(valid(file, schema), parses)
          << json::serialize(file) << (parses ? "" : ": " + parsed.problems[0].message);
    }
  EXPECT_GT(accepted, static_cast<int>(keys().size()));
  for (const char* unknown : {R"({"cpu": 2})", R"({"vm": {"cpus": 2}})", R"({"vm.accel": "tcg"})", R"(["cpus"])"}) {
    EXPECT_FALSE(valid(json::parse(unknown), schema)) << unknown;
    EXPECT_FALSE(parse_profile(unknown, "f").problems.empty()) << unknown;
  }
}

TEST(Schema, NamesEveryKeyWithItsDefaultAndItsClass) {
  const std::string schema = json_schema();
  for (const Key& key : keys()) {
    EXPECT_NE(schema.find(std::string(key.meaning)), std::string::npos) << key.name;
    EXPECT_EQ(key.change == Change::recreate, key.name == "arch" || key.name == "image" || key.name == "vm.driver")
        << "a rare thing: say why";
    EXPECT_EQ(key.change == Change::recreate || key.name == "disk", !key.loses.empty()) << key.name;
  }
}

TEST(Docs, ListEveryKeyWithItsFlagDefaultAndClass) {
  const std::string docs = read_file(fs::path(COLIMA_LIKE_SOURCE) / "docs" / "files.md");
  for (const Key& key : keys()) {
    const std::string flag = key.flag.empty() ? "" : "`--" + std::string(key.flag) + "` ";
    const std::string begin = "| `" + std::string(key.name) + "` | " + flag + "| " +
                              (key.get(Profile{}).empty() ? "none" : key.get(Profile{}));
    const auto at = docs.find("\n" + begin);
    ASSERT_NE(at, std::string::npos) << begin;
    const std::string row = docs.substr(at + 1, docs.find('\n', at + 1) - at - 1);
    EXPECT_TRUE(row.ends_with("| " + std::string(to_string(key.change)) + " |")) << row;
  }
}

}  // namespace
}  // namespace cl
