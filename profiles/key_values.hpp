#pragma once

#include <chrono>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/profile.hpp"
#include "profiles/words.hpp"
#include "src/base/byte_size.hpp"

/// How the texts of settings become values of a profile, and back: what the table in keys.cpp is made of. Of a text
/// that is no such value each says what is wrong with it, to be read behind the key's name.
namespace cl::values {

using Wrong = std::optional<std::string>;

/// For messages.
std::string quoted(std::string_view text);

// From a text.
Wrong set_cpus(Profile& profile, std::string_view text);
Wrong set_size(ByteSize& target, std::string_view text, ByteSize least, ByteSize most);
Wrong set_word(std::string& target, std::string_view text, std::span<const std::string_view> names);
Wrong set_boolean(bool& target, std::string_view text);
/// It was true or false once, and is so in Colima's files.
Wrong set_rosetta(Profile& profile, std::string_view text);
Wrong set_idle(std::chrono::seconds& target, std::string_view text);
/// "a,b", or a JSON array of strings.
Wrong set_list(std::vector<std::string>& target, std::string_view text, Wrong (*wrong_item)(std::string_view));
Wrong set_egress(Profile& profile, std::string_view text);
Wrong set_host_access(Profile& profile, std::string_view text);
Wrong set_forwards(Profile& profile, std::string_view text);
Wrong set_tools(Profile& profile, std::string_view text);
/// "name=value,name=value", or a JSON object of strings.
Wrong set_map(std::map<std::string, std::string>& target, std::string_view text,
              Wrong (*wrong_entry)(std::string_view name, std::string_view value));
Wrong set_scripts(Profile& profile, std::string_view text);
Wrong set_proxy(std::string& target, std::string_view text);
Wrong set_docker(Profile& profile, std::string_view text);

// What is wrong with one item of a list, or one entry of a map.
Wrong wrong_address(std::string_view text);
Wrong wrong_share(std::string_view text);
Wrong wrong_hide(std::string_view text);
Wrong wrong_url(std::string_view text);
Wrong wrong_registry(std::string_view text);
Wrong wrong_certificate(std::string_view text);
Wrong wrong_host(std::string_view name, std::string_view address);
Wrong wrong_variable(std::string_view name, std::string_view value);

// To a text.
/// ByteSize::str() rounds, for people; this is the same number again when it is read.
std::string exact(ByteSize size);
std::string map_text(const std::map<std::string, std::string>& entries);
std::string scripts_text(const Profile& profile);
std::string list_text(const std::vector<std::string>& items);

/// Whether it has letters, digits and these alone, and something.
bool only(std::string_view text, std::string_view extra);

Wrong wrong_word(std::span<const std::string_view> names, std::string_view text);
template <class E>
Wrong set_word(E& target, std::string_view text) {
  const auto value = from_word<E>(text);
  if (!value) return wrong_word(names_of(words_of(E{})), text);
  target = *value;
  return std::nullopt;
}

}  // namespace cl::values
