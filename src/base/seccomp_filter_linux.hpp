#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

/// What each filter of system calls here is made of (seccomp(2)).
namespace cl::seccomp {

inline sock_filter statement(std::uint16_t code, std::uint32_t value) { return {code, 0, 0, value}; }
inline sock_filter jump(std::uint16_t code, std::uint32_t value, std::uint8_t yes, std::uint8_t no) {
  return {code, yes, no, value};
}

/// Where the lower half of an argument is, on little-endian machines.
inline std::uint32_t place_of(std::size_t argument) {
  return static_cast<std::uint32_t>(offsetof(seccomp_data, args) + std::size_t{8} * argument);
}

/// `call` fails with `error`; 0: it is allowed.
inline void answer(std::vector<sock_filter>& filter, long call, std::uint32_t error) {
  filter.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1));
  filter.push_back(statement(BPF_RET | BPF_K, error == 0 ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | error));
}

/// `call` is allowed when the lower half of its argument is one of these, and fails otherwise.
inline void allow_when(std::vector<sock_filter>& filter, long call, std::size_t argument,
                       std::initializer_list<std::uint32_t> values) {
  const auto count = static_cast<std::uint8_t>(values.size());
  filter.push_back(
      jump(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, static_cast<std::uint8_t>(count + 3)));
  filter.push_back(statement(BPF_LD | BPF_W | BPF_ABS, place_of(argument)));
  std::uint8_t left = count;
  for (const std::uint32_t value : values) filter.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, value, left--, 0));
  filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

/// Ends a program of another architecture, whose calls have other numbers, and has a call's number at hand.
inline std::vector<sock_filter> begin_filter() {
#if defined(__x86_64__)
  constexpr std::uint32_t architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
  constexpr std::uint32_t architecture = AUDIT_ARCH_AARCH64;
#endif
  std::vector<sock_filter> filter{
      statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      jump(BPF_JMP | BPF_JEQ | BPF_K, architecture, 1, 0),
      statement(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
  };
#if defined(__x86_64__)
  // x32 has other numbers for the same calls.
  filter.push_back(jump(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1));
  filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
#endif
  return filter;
}

}  // namespace cl::seccomp
