#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

/// Structs as JSON objects and back, by a table of fields that each struct has:
///
///     struct Stop {
///       bool force = false;
///       static constexpr auto fields() { return std::tuple(Field{"force", &Stop::force}); }
///     };
///
/// What is read is tolerant, since the two ends may be of different versions: a key that is missing leaves the field's
/// default, and one that the struct does not know is only reported.
namespace cl::rpc {

namespace json = boost::json;

using TextMap = std::map<std::string, std::string>;

template <class Struct, class Value>
struct Field {
  std::string_view key;
  Value Struct::* member;
  bool required = false;
};

template <class T>
concept Fielded = requires { T::fields(); };

/// Of a list or map that is read; a line's length limits the rest.
inline constexpr std::size_t max_entries = 10'000;

/// A key whose value is not what it should be: "'force' must be true or false, and is a text".
class FieldError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// How messages call a value: "a text", "a number", ...
std::string_view kind_of(const json::value& value) noexcept;
/// False, 0, null, "", [] and {}: such a value asks for nothing.
bool is_empty(const json::value& value) noexcept;

// The kinds of values. `read` throws FieldError with the end of a sentence that begins with the key.
void read(const json::value& from, bool& into);
void read(const json::value& from, std::string& into);
void read(const json::value& from, std::chrono::milliseconds& into);
void read(const json::value& from, TextMap& into);
/// A whole number from `least` to `most`.
std::int64_t read_number(const json::value& from, std::int64_t least, std::uint64_t most);

template <std::integral Number>
void read(const json::value& from, Number& into) {
  using Limits = std::numeric_limits<Number>;
  into = static_cast<Number>(read_number(from, static_cast<std::int64_t>(Limits::min()), Limits::max()));
}

template <Fielded Struct>
void read(const json::value& from, Struct& into);
template <class Item>
void read(const json::value& from, std::vector<Item>& into);
template <class Item>
void read(const json::value& from, std::optional<Item>& into);

inline json::value write(bool value) { return value; }
inline json::value write(const std::string& value) { return json::value(value); }
inline json::value write(std::chrono::milliseconds value) { return json::value(value.count()); }
json::value write(const TextMap& value);
template <std::integral Number>
json::value write(Number value) {
  return json::value(value);
}
template <Fielded Struct>
json::value write(const Struct& value);
template <class Item>
json::value write(const std::vector<Item>& value);

/// All fields but optional ones without a value; what is empty is written, too, since older programs insist on it.
template <Fielded Struct>
json::object to_object(const Struct& value) {
  json::object object;
  const auto put = [&object, &value](const auto& field) {
    const auto& member = value.*field.member;
    if constexpr (requires { member.has_value(); }) {
      if (member) object[field.key] = write(*member);
    } else {
      object[field.key] = write(member);
    }
  };
  std::apply([&put](const auto&... field) { (put(field), ...); }, Struct::fields());
  return object;
}

/// Throws FieldError. Keys that the struct does not know and that ask for something are added to `unknown`.
template <Fielded Struct>
Struct from_object(const json::object& object, std::vector<std::string>* unknown = nullptr) {
  Struct value;
  const auto take = [&object, &value](const auto& field) {
    const json::value* found = object.if_contains(field.key);
    if (found == nullptr || found->is_null()) {
      if (field.required) throw FieldError("'" + std::string(field.key) + "' is missing");
      return;
    }
    try {
      read(*found, value.*field.member);
    } catch (const FieldError& error) {
      throw FieldError("'" + std::string(field.key) + "' " + error.what());
    }
  };
  std::apply([&take](const auto&... field) { (take(field), ...); }, Struct::fields());
  if (unknown != nullptr) {
    for (const auto& [key, found] : object) {
      const std::string_view name = key;
      const auto same = [name](const auto&... field) { return ((field.key == name) || ...); };
      if (!is_empty(found) && !std::apply(same, Struct::fields())) unknown->emplace_back(key);
    }
  }
  return value;
}

/// The keys of a struct and of those in its lists, in the order of their tables.
template <Fielded Struct>
std::vector<std::string_view> keys_of();

template <class Owner, class Value>
void add_keys(std::vector<std::string_view>& keys, const Field<Owner, Value>& field) {
  keys.push_back(field.key);
}
template <class Owner, Fielded Item>
void add_keys(std::vector<std::string_view>& keys, const Field<Owner, std::vector<Item>>& field) {
  keys.push_back(field.key);
  const std::vector<std::string_view> below = keys_of<Item>();
  keys.insert(keys.end(), below.begin(), below.end());
}

template <Fielded Struct>
std::vector<std::string_view> keys_of() {
  std::vector<std::string_view> keys;
  std::apply([&keys](const auto&... field) { (add_keys(keys, field), ...); }, Struct::fields());
  return keys;
}

/// The array, or a FieldError.
const json::array& list_in(const json::value& value);

template <Fielded Struct>
void read(const json::value& from, Struct& into) {
  if (!from.is_object()) throw FieldError("must be an object, and is " + std::string(kind_of(from)));
  into = from_object<Struct>(from.get_object());
}

template <class Item>
void read(const json::value& from, std::vector<Item>& into) {
  for (const json::value& one : list_in(from)) {
    try {
      read(one, into.emplace_back());
    } catch (const FieldError& error) {
      throw FieldError("holds an entry that " + std::string(error.what()));
    }
  }
}

template <class Item>
void read(const json::value& from, std::optional<Item>& into) {
  read(from, into.emplace());
}

template <Fielded Struct>
json::value write(const Struct& value) {
  return to_object(value);
}

template <class Item>
json::value write(const std::vector<Item>& value) {
  json::array array;
  for (const Item& one : value) array.push_back(write(one));
  return array;
}

}  // namespace cl::rpc
