#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// Settings that are one of a few words. A list here is the one source of what the profile's file may say, of the
/// schema, of help, completion and the message about a wrong value; profiles/runtime.hpp has the list of runtimes.
namespace cl {

template <class E>
struct Word {
  std::string_view name;
  E value;
};

/// What runs the guest's instructions.
enum class AccelWish { automatic, kvm, hvf, tcg };
inline constexpr std::array accel_words{Word{"auto", AccelWish::automatic}, Word{"kvm", AccelWish::kvm},
                                        Word{"hvf", AccelWish::hvf}, Word{"tcg", AccelWish::tcg}};
constexpr const auto& words_of(AccelWish) { return accel_words; }

/// Which driver boots the machine; the names are those of src/daemon/drivers.cpp.
enum class DriverWish { automatic, qemu, vz, host };
inline constexpr std::array driver_words{Word{"auto", DriverWish::automatic}, Word{"qemu", DriverWish::qemu},
                                         Word{"vz", DriverWish::vz}, Word{"host", DriverWish::host}};
constexpr const auto& words_of(DriverWish) { return driver_words; }

/// Apple's translator of amd64 programs; with `on` it is an error when it cannot be used.
enum class RosettaWish { automatic, on, off };
inline constexpr std::array rosetta_words{Word{"auto", RosettaWish::automatic}, Word{"on", RosettaWish::on},
                                          Word{"off", RosettaWish::off}};
constexpr const auto& words_of(RosettaWish) { return rosetta_words; }

/// Whose use of the engine keeps the machine awake; `working` are clients that do more than look.
enum class IdleClients { all, working };
inline constexpr std::array idle_client_words{Word{"all", IdleClients::all}, Word{"working", IdleClients::working}};
constexpr const auto& words_of(IdleClients) { return idle_client_words; }

/// Which of the machine's ports appear on this host.
enum class ForwardWish { published, all, none };
inline constexpr std::array forward_words{Word{"published", ForwardWish::published}, Word{"all", ForwardWish::all},
                                          Word{"none", ForwardWish::none}};
constexpr const auto& words_of(ForwardWish) { return forward_words; }

/// Whether a folder is shared whose server nothing on this host confines to it.
enum class ShareConfinement { required, optional };
inline constexpr std::array share_confinement_words{Word{"required", ShareConfinement::required},
                                                    Word{"optional", ShareConfinement::optional}};
constexpr const auto& words_of(ShareConfinement) { return share_confinement_words; }

template <class E>
  requires requires(E value) { words_of(value); }
constexpr std::string_view to_string(E value) {
  for (const auto& word : words_of(value))
    if (word.value == value) return word.name;
  return {};
}

/// Nothing for a word that is not in the list.
template <class E>
constexpr std::optional<E> from_word(std::string_view name) {
  for (const auto& word : words_of(E{}))
    if (word.name == name) return word.value;
  return std::nullopt;
}

/// The names of a list of anything that has one.
template <class T, std::size_t N>
constexpr std::array<std::string_view, N> names_of(const std::array<T, N>& all) {
  std::array<std::string_view, N> names;
  std::transform(all.begin(), all.end(), names.begin(), [](const T& one) { return one.name; });
  return names;
}

// Of settings that stay words, since they name something that is looked up by its name.
inline constexpr std::array<std::string_view, 3> arch_names{"host", "x86_64", "aarch64"};
inline constexpr std::array<std::string_view, 4> share_type_names{"auto", "virtiofs", "sshfs", "9p"};
inline constexpr std::array<std::string_view, 2> script_modes{"system", "user"};
inline constexpr std::array<std::string_view, 2> script_moments{"after-boot", "ready"};

/// "a, b or c"
std::string or_list(std::span<const std::string_view> names);

}  // namespace cl
